//! Promise: the lines that `landfall host new` prints for flake.nix, put where their comments say, are valid Nix, hide nothing that the
//! flake had, and have their effect; lines that do not are refused, and a host that is like none of its neighbours says so.
//!
//! Real Nix says what the flake is.
//!
//! `host_new_lines` has the other lines.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

#[path = "host_new/kit.rs"]
#[allow(dead_code)]
mod kit;

use kit::{Ground, has_nix, host, said, without_nix};

const INPUTS: &str = "  inputs.nixpkgs.url = \"path:./inputs/nixpkgs\";\n  inputs.landfall.url = \"path:./inputs/landfall\";\n";

/// The lines that are printed, between the sentence before them and the next step.
fn printed(text: &str) -> String {
    let (_, lines) = text.split_once("The flake needs these lines:\n\n").unwrap();
    lines.split("\n    next: ").next().unwrap().to_owned()
}

/// A flake whose hosts are not edited: the lines of the form that is printed, put where their comments say.
fn pasted(flake: &str, lines: &str) -> String {
    let lines: Vec<&str> = lines
        .lines()
        .map(|line| line.strip_prefix("    ").unwrap_or(line))
        .collect();
    let whole = lines.join("\n");
    let end = flake.rfind(";\n}").unwrap();
    if whole.contains("let outputs = ( … )") {
        // Around what the outputs are now.
        let from = match whole.starts_with("outputs = ") {
            true => flake.find("  outputs = ").unwrap() + "  outputs = ".len(),
            false => {
                flake.find("...").map_or(0, |at| at)
                    + flake[flake.find("...").unwrap()..].find(": ").unwrap()
                    + 2
            }
        };
        let own = whole.replace("( … )", &format!("({})", &flake[from..end]));
        let own = own
            .strip_prefix("outputs = ")
            .map_or(own.as_str(), |own| own.trim_end_matches(';'))
            .to_owned();
        // The comment of the first line ends before the rest.
        return format!("{}{own}{}", &flake[..from], &flake[end..]);
    }
    assert!(whole.contains("# these"), "it says where: {whole}");
    let mut flake = flake.to_owned();
    let mut own = whole.clone();
    if let Some(at) = whole.find(" = ( … ) // {") {
        let output = &whole[..at];
        let from = flake.find(&format!("{output} = ")).unwrap();
        let close = from + flake[from..].find(";\n").unwrap();
        let value = flake[from + output.len() + 3..close].to_owned();
        flake.replace_range(from..=close, "");
        own = whole.replace("( … )", &format!("({value})"));
    }
    let end = flake.rfind("};\n}").unwrap();
    flake.insert_str(end, &format!("{own}\n"));
    flake
}

/// The names of all outputs, with those below each system.
fn every_name(ground: &Ground) -> Vec<String> {
    let text = "let n = v: if builtins.isAttrs v then builtins.attrNames v else [ ]; \
                of = o: v: if builtins.elem o [ \"packages\" \"legacyPackages\" ] then builtins.concatMap (s: map (p: \"${o}.${s}.${p}\") (n v.${s})) (n v) \
                else map (p: \"${o}.${p}\") (n v); in builtins.concatLists (builtins.attrValues (builtins.mapAttrs of flake.outputs))";
    serde_json::from_value(ground.nix(text)).unwrap()
}

/// Beside hosts that stand in another file, the packages of a flake have many forms: pasted, the lines are valid, hide nothing, and have
/// their effect.
#[test]
fn the_lines_hide_nothing_and_have_their_effect_beside_packages_of_every_form() {
    if !has_nix() {
        return without_nix("the lines that are printed");
    }
    let hosts = "    nixosConfigurations = import ./all.nix { inherit inputs; };\n";
    let written = "    nixosConfigurations.web = nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; };\n";
    let set =
        |own: &str, more: &str| format!("inputs@{{ self, nixpkgs, landfall, ... }}: {{\n{own}{more}  }}");
    let each = |more: &str| format!("inputs.flake-utils.lib.eachDefaultSystem (system: {{ {more} }})");
    let (tool, legacy) = ("packages.tool = \"t\";", "legacyPackages.old = \"o\";");
    let all = "nixpkgs.lib.genAttrs [ \"x86_64-linux\" \"aarch64-linux\" ] (s: { tool = \"t\"; })";
    for outputs in [
        set(hosts, ""),
        set(hosts, "    packages.x86_64-linux.hello = \"h\";\n"),
        set(hosts, "    packages.x86_64-linux = { hello = \"h\"; };\n"),
        set(hosts, "    packages = { x86_64-linux = { hello = \"h\"; }; };\n"),
        set(hosts, "    packages = { aarch64-linux = { hello = \"h\"; }; };\n"),
        set(hosts, "    packages = rec { aarch64-linux = { hello = \"h\"; }; };\n"),
        set(hosts, "    packages.${\"x86_64-linux\"}.hello = \"h\";\n"),
        set(hosts, "    packages.x86_64-linux = import ./pk.nix;\n"),
        set(hosts, &format!("    packages = {all};\n")),
        set(hosts, &format!("    packages = {all};\n    legacyPackages.x86_64-linux = {{ old = \"o\"; }};\n")),
        set(hosts, &format!("    packages = {all};\n    legacyPackages = {all};\n")),
        set(hosts, "    inherit (import ./outs.nix) packages legacyPackages;\n"),
        set("    inherit (import ./outs.nix) packages;\n    inherit (import ./by.nix inputs) nixosConfigurations;\n", ""),
        set(written, &format!("    packages = {all};\n    legacyPackages = {all};\n")),
        set(written, "    packages.x86_64-linux = import ./pk.nix;\n    legacyPackages.x86_64-linux.old = \"o\";\n"),
        format!("{} // {}", set(hosts, ""), each(tool)),
        format!("{} // {}", set(written, ""), each(&format!("{tool} {legacy}"))),
        format!(
            "inputs@{{ self, nixpkgs, landfall, ... }}: {} // {{\n{hosts}  }}",
            each(tool)
        ),
        format!("{} // {{ packages.x86_64-linux.a = \"a\"; }}", set(hosts, "")),
        "inputs@{ self, nixpkgs, landfall, ... }: let landfall = \"x\"; in {\n    nixosConfigurations = import ./all.nix { inherit inputs; };\n    it = landfall;\n  }".to_owned(),
        "inputs@{ self, nixpkgs, ... }: import ./outs.nix // import ./by.nix inputs".to_owned(),
        "import ./outputs.nix".to_owned(),
    ] {
        let ground = printed_for(&outputs);
        // Nix takes no function of another file for outputs, so that those are none yet.
        let before = match outputs.starts_with("import") {
            true => every_name(&printed_for("inputs@{ self, nixpkgs, ... }: import ./outs.nix // import ./by.nix inputs")),
            false => every_name(&ground),
        };
        let text = ground.refused("new", &["--yes"], 6);
        let flake = ground.text("flake.nix");
        ground.put("flake.nix", pasted(&flake, &printed(&text)).as_bytes());
        if outputs.starts_with("import") {
            assert!(ground.shell("nix flake lock && git add flake.lock").status.success());
        }
        let output = ground.run("new", &["--yes", "--no-flake"]);
        let by_hand = ground.text("flake.nix");
        assert!(output.status.success(), "{}{by_hand}", said(&output.stderr));
        let text = said(&output.stdout);
        assert!(!text.contains("add the lines") && !text.contains("note: flake.nix"), "{text}");
        let after = every_name(&ground);
        let gone: Vec<&String> = before.iter().filter(|name| !after.contains(name)).collect();
        assert!(gone.is_empty(), "{gone:?} {by_hand}");
        let mut new: Vec<&str> = after.iter().filter(|name| !before.contains(name)).map(|name| name.rsplit('.').next().unwrap()).collect();
        new.sort_unstable();
        assert_eq!(new, ["new", "newInstallerIso", "newInstallerNetboot"], "{by_hand}");
    }
}

fn printed_for(outputs: &str) -> Ground {
    let input = "  inputs.flake-utils.url = \"path:./inputs/flake-utils\";\n";
    let web = host("web");
    let all = "{ inputs }: { web = inputs.nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; }; }\n";
    let outs = "{ packages.x86_64-linux.hello = \"h\"; packages.aarch64-linux.hello = \"h\"; legacyPackages.x86_64-linux.old = \"o\"; }\n";
    Ground::new(
        &format!("{{\n{INPUTS}{input}  outputs = {outputs};\n}}\n"),
        &[
            ("hosts/web/default.nix", &web),
            ("all.nix", all),
            (
                "by.nix",
                "inputs: { nixosConfigurations = import ./all.nix { inherit inputs; }; }\n",
            ),
            ("outs.nix", outs),
            (
                "outputs.nix",
                "{ self, nixpkgs, landfall, ... }@inputs: import ./outs.nix // import ./by.nix inputs\n",
            ),
            ("pk.nix", "{ hello = \"h\"; }\n"),
        ],
    )
}

/// What computes its name, an output or a host, keeps nobody from being like the neighbours; and a host that is like none says so, wherever
/// the others stand.
#[test]
fn computed_names_hide_no_neighbours() {
    let head = "{ self, nixpkgs, landfall, ... }@inputs:";
    let make = "let system = \"x86_64-linux\"; db = \"db\"; mkHost = name: nixpkgs.lib.nixosSystem { inherit system; modules = [ ./hosts/${name} ]; }; in";
    let bare = "new has its own file and landfall's module alone: what the flake gives web besides";
    let nixos = "nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; };";
    // (outputs, the lines of the host or the note)
    for (outputs, wanted) in [
        (
            format!("{head} {make} {{\n    nixosConfigurations.web = mkHost \"web\";\n    formatter.${{system}} = \"f\";\n    packages.${{system}}.a = \"a\";\n  }}"),
            "nixosConfigurations.new = mkHost \"new\";",
        ),
        (
            format!("{head} {make} {{\n    nixosConfigurations = {{\n      web = mkHost \"web\";\n      ${{db}} = mkHost db;\n    }};\n  }}"),
            "new = mkHost \"new\";",
        ),
        (
            format!("{head} let name = \"web\"; in {{\n    nixosConfigurations.${{name}} = {nixos}\n  }}"),
            bare,
        ),
        (
            format!("{head} let name = \"web\"; in {{\n    nixosConfigurations = {{ \"${{name}}\" = {nixos} }};\n  }}"),
            bare,
        ),
        (
            "inputs: inputs.flake-parts.lib.mkFlake { inherit inputs; } {\n    systems = [ \"x86_64-linux\" ];\n    imports = [ ./module.nix ];\n  }".to_owned(),
            bare,
        ),
    ] {
        let module = "{ inputs, ... }: { flake.nixosConfigurations.web = inputs.nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; }; }\n";
        let input = "  inputs.flake-parts.url = \"path:./inputs/flake-parts\";\n";
        let (web, db) = (host("web"), host("db"));
        let ground = Ground::new(
            &format!("{{\n{INPUTS}{input}  outputs = {outputs};\n}}\n"),
            &[("hosts/web/default.nix", &web), ("hosts/db/default.nix", &db), ("module.nix", module)],
        );
        let text = ground.made("new", &["--yes"]);
        // Without Nix nobody names what stands in another file.
        if has_nix() || !outputs.contains("module.nix") {
            let name = if has_nix() { wanted.to_owned() } else { wanted.replace("gives web", "gives ") };
            assert!(ground.text("flake.nix").contains(&name) || text.contains(&name), "{text}");
        }
        // The control: the one that is like its neighbours has no such note.
        assert_eq!(text.contains("landfall's module alone"), wanted == bare && (has_nix() || !outputs.contains("module.nix")), "{text}");
    }
}

/// What has no place is named: the hosts of these have one.
#[test]
fn packages_without_a_place_are_the_reason() {
    let each = "nixpkgs.lib.genAttrs [ \"x86_64-linux\" ] (s: { tool = \"t\"; })";
    let web = "nixosConfigurations.web = nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; };";
    let all = format!(
        "{{ self, nixpkgs, landfall, ... }}: {{ {web} packages = {each}; legacyPackages = {each}; }}"
    );
    let text = printed_for(&all).refused("new", &["--yes"], 6);
    assert!(
        text.contains("it makes packages and legacyPackages in forms"),
        "{text}"
    );
    // The control: of hosts that have none the reason is another.
    let text = printed_for("{ self, nixpkgs, landfall, ... }@inputs: { nixosConfigurations = import ./all.nix { inherit inputs; }; }")
    .refused("new", &["--yes"], 6);
    assert!(text.contains("its hosts are not in a form"), "{text}");
}

/// Lines at a place where they have no effect, or that take something away, are not taken for a host.
#[test]
fn lines_that_hide_or_are_hidden_are_refused() {
    if !has_nix() {
        return without_nix("lines in the wrong place");
    }
    let host = "    nixosConfigurations.new = nixpkgs.lib.nixosSystem { modules = [ ./hosts/new ]; };\n";
    let installer = "packages.x86_64-linux = landfall.lib.mkInstallerPackages {\n      new = {\n        target = self.nixosConfigurations.new;\n        \
                     modules = [ ./hosts/new/installer.nix ];\n      };\n    };\n";
    let web = "    nixosConfigurations.web = nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; };\n";
    let head = "inputs@{ self, nixpkgs, landfall, ... }:";
    let each = "inputs.flake-utils.lib.eachDefaultSystem (system: { packages.tool = \"t\"; legacyPackages.old = \"o\"; })";
    let before = format!("{head} {{\n{web}  }} // {each}");
    // (by hand, what is said)
    for (outputs, told) in [
        (
            format!("{head} {{\n{web}{host}    {installer}  }} // {each}"),
            "it has lines for packages.x86_64-linux.newInstallerIso, and Nix",
        ),
        (
            format!(
                "{head} {{\n{web}{host}    {installer}  }} // {each} // {{ inherit (import ./by.nix inputs) nixosConfigurations; }}"
            ),
            "it has lines for nixosConfigurations.new, and Nix",
        ),
        (
            format!("{head} {each} // {{\n{web}{host}    {installer}  }}"),
            "no longer packages.x86_64-linux.tool",
        ),
        (
            format!(
                "{head} {each} // {{\n{web}{host}    legacyP{}  }}",
                &installer[1..]
            ),
            "no longer legacyPackages.",
        ),
    ] {
        let ground = printed_for(&before);
        let flake = ground.text("flake.nix");
        let by_hand = flake.replace(&before, &outputs);
        assert_ne!(flake, by_hand);
        ground.put("flake.nix", by_hand.as_bytes());
        let text = ground.refused("new", &["--yes", "--no-flake"], 6);
        assert!(text.contains(told), "{text}");
        if let Some((_, lines)) = text.split_once("The flake needs these lines:\n\n") {
            let lines = lines.split("\n    next: ").next().unwrap();
            // In place of the lines without effect, where the comment says.
            let whole = if told.contains("newInstallerIso") {
                by_hand.replace(&format!("    {installer}"), "")
            } else {
                flake
            };
            ground.put("flake.nix", pasted(&whole, lines).as_bytes());
            ground.made("new", &["--yes", "--no-flake"]);
            assert!(every_name(&ground).contains(&"packages.x86_64-linux.newInstallerIso".to_owned()));
            continue;
        }
        // What is committed is meant, and said once more.
        ground.git(&["commit", "--quiet", "--all", "--message", "by hand"]);
        let text = ground.made("new", &["--yes", "--no-flake"]);
        assert!(
            text.contains("since its last commit flake.nix has no longer "),
            "{text}"
        );
    }
}
