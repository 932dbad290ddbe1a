//! Makes the shell completions, the manual pages, and the texts of docs/reference/cli.md and docs/reference/exit-codes.md.
//!
//! All of them come from the definition of the command line and from `exit`, so they always agree with `--help`. No text about an
//! option is written here.

use super::{Failure, command};
use crate::exit::Exit;
use camino::Utf8Path;
use std::io::Write;

pub(super) fn completions(shell: clap_complete::Shell, out: &mut dyn Write) -> Result<Exit, Failure> {
    // The generator cannot report a failed write, so it writes to memory.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "landfall", &mut text);
    out.write_all(&text)?;
    Ok(Exit::Ok)
}

pub(super) fn man(dir: Option<&Utf8Path>, out: &mut dyn Write) -> Result<Exit, Failure> {
    match dir {
        None => clap_mangen::Man::new(command()).render(out)?,
        Some(dir) => {
            fs_err::create_dir_all(dir)?;
            clap_mangen::generate_to(command(), dir)?;
        }
    }
    Ok(Exit::Ok)
}

/// The text of docs/reference/cli.md.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Command line\n\n\
         The text of `landfall --help` and of `--help` of every command. `tests/tidy.rs` generates it. See also: \
         [exit codes](exit-codes.md), [messages](messages.md), [configuration](configuration.md).\n",
    );
    let mut root = command().term_width(100);
    root.build();
    section(&mut text, "landfall", &mut root.clone());
    for sub in root.get_subcommands_mut() {
        let name = format!("landfall {}", sub.get_name());
        section(&mut text, &name, sub);
        for below in sub.get_subcommands_mut() {
            let name = format!("{name} {}", below.get_name());
            section(&mut text, &name, below);
        }
    }
    text
}

fn section(text: &mut String, name: &str, command: &mut clap::Command) {
    let help = command.clone().term_width(100).render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!(
        "\n## {name}\n\n```text\n{}\n```\n",
        lines.join("\n").trim_end()
    ));
}

/// The text of docs/reference/exit-codes.md.
pub fn exit_codes_markdown() -> String {
    let mut text = String::from(
        "# Exit codes\n\n\
         landfall ends with one code for each class of outcome. The codes never change. The message on standard error names \
         the phase in which landfall stopped (or says that it did not start and wrote to no disk), the reason, and the next \
         command; every message is in [messages](messages.md). This table comes from `src/exit.rs`; `tests/tidy.rs` \
         keeps it up to date.\n\n\
         | code | meaning | what to do |\n|---|---|---|\n",
    );
    for exit in Exit::ALL {
        text.push_str(&format!(
            "| {} | {} | {} |\n",
            exit.code(),
            exit.meaning(),
            exit.then()
        ));
    }
    text.push_str(
        "\nA service should treat 0 and 10 as success (`SuccessExitStatus=10`). After any other code the machine stays on: \
         landfall never powers off after a failure.\n",
    );
    text
}
