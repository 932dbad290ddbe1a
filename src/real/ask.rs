//! Asks a person.
//!
//! A question waits without a time limit. A passphrase for a new container is asked twice, is never empty and is never shown.
//! Erasing needs the word `yes`. In unattended mode nothing is asked; the fault names the option or the
//! credential that would answer.
//!
//! Questions go to systemd's password agents (`systemd-ask-password(1)`), which own the console, the serial line and
//! Plymouth. A person who started landfall on a terminal has no agent there, and is asked on that terminal.
//!
//! `volume::luks` checks a passphrase against a header.

use crate::event::Event;
use crate::real::Real;
use crate::real::disk::{Sysfs, named};
use crate::real::process::command::{OnStop, Program};
use crate::real::process::stop::Stop;
use crate::real::process::terminal;
use crate::real::secret::{Secret, SecretText};
use crate::real::secrets::passphrase;
use landfall_states::consent::{Consent, ConsentBy, Erasure};
use landfall_states::fault::{Fault, FaultClass, Remedy, SecretFault};
use secrecy::ExposeSecret;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

/// How often two entries of a passphrase may differ, or be empty.
const ROUNDS_MAX: u32 = 10;
/// What an answer is not.
const NOT_UTF8: &str = "the input is not UTF-8 (set the terminal to UTF-8, or use ASCII)";
/// For ever, as far as a clock can count it.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// What a question is about: names it towards the agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    Passphrase,
    Consent,
}

/// The passphrase is at hand afterwards: from the credentials, or asked for; twice when it is for a new container.
///
/// # Errors
/// Nobody can be asked, nobody answered, or the answer is no passphrase.
pub async fn ensure_passphrase(real: &mut Real, label: &str, new: bool) -> Result<(), Fault> {
    if real.credentials.passphrase().is_some() {
        return Ok(());
    }
    let passphrase = ask_passphrase(real, label, new).await?;
    real.credentials.enter_passphrase(passphrase);
    Ok(())
}

/// As [`ensure_passphrase`], after the one that a person entered was found not to open the container.
///
/// # Errors
/// As [`ensure_passphrase`]; too many entries did not open the container.
pub async fn passphrase_again(real: &mut Real, label: &str) -> Result<(), Fault> {
    real.credentials.set_passphrase(None);
    real.reporter
        .notice(format!("the passphrase does not open {label}"));
    ensure_passphrase(real, label, false).await
}

async fn ask_passphrase(real: &Real, label: &str, new: bool) -> Result<SecretText, Fault> {
    if real.config.unattended.enable {
        return Err(SecretFault::PassphraseMissing {
            of: label.to_owned(),
            unattended: true,
        }
        .into());
    }
    for _ in 0..ROUNDS_MAX {
        let prompt = if new {
            format!("New passphrase for {label}:")
        } else {
            format!("Passphrase for {label}:")
        };
        let first = ask(real, Topic::Passphrase, &prompt).await?;
        if first.expose_secret().is_empty() {
            real.reporter.notice("an empty passphrase is refused");
            continue;
        }
        if !new {
            return Ok(first);
        }
        if let Some(why) = passphrase::objection(&first) {
            real.reporter.notice(format!(
                "this passphrase cannot be used: {why}; enter another one"
            ));
            continue;
        }
        let second = ask(
            real,
            Topic::Passphrase,
            &format!("The same passphrase for {label} again:"),
        )
        .await?;
        if first.expose_secret() == second.expose_secret() {
            return Ok(first);
        }
        real.reporter
            .notice("the two passphrases differ; enter them again");
    }
    Err(SecretFault::PassphrasesDiffer {
        of: label.to_owned(),
        rounds: ROUNDS_MAX as u64,
    }
    .into())
}

/// Consent to an erasure: given in advance by a name of the disk, or by a person. `None`: refused.
///
/// # Errors
/// Nobody can be asked, the name given in advance is that of no disk or of several, or the stop request came.
pub async fn consent(real: &Real, erasure: &Erasure) -> Result<Option<Consent>, Fault> {
    let named = real
        .config
        .unattended
        .disk
        .as_deref()
        .or(real.credentials.consent());
    let mut why_not = "the disk was not named in advance".to_owned();
    if let Some(name) = named {
        let agreed = named::agrees(name, &erasure.disk, &named::look(&Sysfs::real())?);
        if let Err(why) = agreed {
            why_not = why;
        } else {
            let by = ConsentBy::InAdvance {
                disk_name: name.to_owned(),
                // Only the number in the configuration speaks in advance, not one that a person's --reinstall raised.
                reinstall: real.config.reinstall > 0
                    && real
                        .plan
                        .as_ref()
                        .is_some_and(|plan| plan.nonce == real.config.reinstall),
            };
            if let Some(consent) = Consent::to(erasure, by) {
                real.reporter
                    .notice(format!("consent was given in advance for {name}"));
                return Ok(Some(consent));
            }
            why_not = "the disk holds a finished install, and `reinstall` was not increased".into();
        }
    }
    if real.config.unattended.enable {
        return Err(SecretFault::ConsentMissing {
            extent: erasure.extent.to_string(),
            disk: erasure.disk.name().to_string(),
            reason: why_not,
        }
        .into());
    }
    if named.is_some() {
        real.reporter.notice(why_not);
    }
    let mut shown = format!("ERASE {erasure}");
    shown.push_str("\nEverything listed will be lost. Type yes to continue, anything else to stop.");
    real.reporter.tell(Event::Asking {
        what: shown,
        scan: None,
    });
    let contents = if erasure.contents.is_empty() {
        "blank".to_owned()
    } else {
        erasure.contents.join("; ")
    };
    let prompt = format!(
        "ERASE {} of {} ({contents})? Type yes:",
        erasure.extent, erasure.disk
    );
    let answer = ask(real, Topic::Consent, &prompt).await?;
    if answer.expose_secret().trim() == "yes" {
        Ok(Consent::to(erasure, ConsentBy::Person))
    } else {
        Ok(None)
    }
}

async fn ask(real: &Real, topic: Topic, prompt: &str) -> Result<SecretText, Fault> {
    real.reporter.tell(Event::Asking {
        what: prompt.to_owned(),
        scan: None,
    });
    if std::io::stdin().is_terminal() {
        return ask_terminal(topic, prompt, &real.stop).await;
    }
    let id = match topic {
        Topic::Passphrase => "--id=landfall:passphrase",
        Topic::Consent => "--id=landfall:consent",
    };
    let echo = match topic {
        Topic::Passphrase => "--echo=masked",
        Topic::Consent => "--echo=yes",
    };
    let (ended, answer) = real
        .context()
        .run_for_secret(
            Program::new("systemd-ask-password")
                .args(["--timeout=0", "--no-tty", "--emoji=no", id, echo, "--", prompt])
                .deadline(FOR_EVER)
                .on_stop(OnStop::End),
        )
        .await?;
    ended.or_fault(|how| {
        Fault::program(
            FaultClass::NeedsChange,
            "question to a person",
            how,
            Remedy::change(
                "answer on the console, or provide the credentials landfall.consent and landfall.luks-passphrase",
            ),
        )
    })?;
    line_of(answer).ok_or_else(|| {
        SecretFault::NoAnswer {
            reason: NOT_UTF8.to_owned(),
        }
        .into()
    })
}

/// An answer without the end of its line. `None`: it is not UTF-8 (an agent that is set to Latin-1), and what was meant cannot be
/// known: nothing is put in its place.
fn line_of(answer: Secret) -> Option<SecretText> {
    let bytes = answer.expose_secret();
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    Secret::copy_of(bytes).ok()?.into_text().ok()
}

/// Reads one line from the terminal; a passphrase is not echoed. A stop ends the question, with the terminal as it was before.
async fn ask_terminal(topic: Topic, prompt: &str, stop: &Stop) -> Result<SecretText, Fault> {
    let prompt = prompt.to_owned();
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread that the end of the process does not wait for: nobody may ever press a key again.
    std::thread::spawn(move || {
        // Whoever has stopped hears no answer.
        let (Ok(()) | Err(_)) = tell.send(read_line(topic, &prompt));
    });
    let asked = tokio::select! {
        asked = told => asked,
        () = stop.requested() => {
            terminal::restore();
            return Err(stop.fault());
        }
    };
    let fault = |why: String| Fault::from(SecretFault::NoAnswer { reason: why });
    match asked {
        Ok(Ok(Some(line))) => Ok(line),
        Ok(Ok(None)) => Err(fault("the terminal was closed".into())),
        Ok(Err(e)) => Err(fault(e.to_string())),
        Err(e) => Err(fault(e.to_string())),
    }
}

fn read_line(topic: Topic, prompt: &str) -> std::io::Result<Option<SecretText>> {
    let input = std::io::stdin().lock();
    let mut output = std::io::stderr().lock();
    write!(output, "{prompt} ")?;
    output.flush()?;
    drop(output);
    let Some(line) = terminal::line(input.as_fd(), topic == Topic::Consent)? else {
        return Ok(None);
    };
    // A terminal that is not set to UTF-8: what was meant cannot be known.
    line_of(line)
        .map(Some)
        .ok_or_else(|| std::io::Error::other(NOT_UTF8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_latin_1_is_refused_and_not_replaced() {
        let of = |bytes: &[u8]| line_of(Secret::copy_of(bytes).unwrap());
        assert!(of(b"caf\xe9\n").is_none());
        // The control: what resembles it in UTF-8 is taken as it is, without its end.
        assert_eq!(of("café\n".as_bytes()).unwrap().expose_secret(), "café");
        assert_eq!(of(b" a \n").unwrap().expose_secret(), " a ");
    }
}
