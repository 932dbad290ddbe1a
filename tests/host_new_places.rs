//! Promise: `landfall host new` guesses neither between two places nor what of a neighbour is another host's: it declines, or reports what it
//! did. Each flake is written here; real Nix says what it is, where Nix is installed.
//!
//! `tests/host_new.rs` has the forms that are edited, `tests/host_new_lines.rs` the lines that are printed.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test may end where it stands

#[path = "host_new/kit.rs"]
#[allow(dead_code)]
mod kit;

use kit::{Ground, has_nix, host, said};

const INPUTS: &str = "  inputs.nixpkgs.url = \"path:./inputs/nixpkgs\";\n  inputs.landfall.url = \"path:./inputs/landfall\";\n";

fn ground(outputs: &str, more: &[(&str, &str)]) -> Ground {
    let web = host("web");
    let mut files = vec![
        ("hosts/web/default.nix", web.as_str()),
        ("hosts/web/installer.nix", "{ }\n"),
    ];
    files.extend(more);
    Ground::new(&format!("{{\n{INPUTS}  outputs = {outputs};\n}}\n"), &files)
}

/// A host goes into a folder only where the flake reads hosts there.
#[test]
fn a_folder_of_something_else_gets_no_host() {
    let hosts = "{ inputs }: { web = inputs.nixpkgs.lib.nixosSystem { modules = [ ./hosts/web ]; }; }\n";
    let more = [
        ("overlays/a.nix", "final: prev: { }\n"),
        ("hosts.nix", hosts),
        ("make.nix", "folder: { }\n"),
    ];
    for configurations in [
        "import ./hosts.nix { inherit inputs; }",
        "import ./make.nix (builtins.readDir ./overlays)",
    ] {
        let outputs = format!(
            "{{ self, nixpkgs, landfall, ... }}@inputs: {{\n    overlays = builtins.mapAttrs (n: _: import (./overlays + \"/${{n}}\")) (builtins.readDir \
             ./overlays);\n    nixosConfigurations = {configurations};\n  }}"
        );
        let ground = ground(&outputs, &more).without_nix();
        let text = ground.refused("new", &["--yes"], 6);
        assert!(text.contains("there is no `nix` in PATH"), "{text}");
    }
    // The control.
    let outputs = "{ self, nixpkgs, landfall, ... }: {\n    nixosConfigurations = builtins.mapAttrs (n: _: nixpkgs.lib.nixosSystem { modules = [ (./hosts + \"/${n}\") ]; }) \
                   (builtins.readDir ./hosts);\n  }";
    let ground = ground(outputs, &more).without_nix();
    ground.made("new", &["--yes"]);
    assert!(ground.has("hosts/new/default.nix"));
}

/// Of several tables of hosts none is guessed; where one has to be the right one, the choice is told.
#[test]
fn several_tables_of_hosts_are_named() {
    let db = host("db");
    let outputs = |bound: &str, hosts: &str| {
        format!(
            "{{ self, nixpkgs, landfall, ... }}:\n  let\n    inherit (nixpkgs) lib;\n    mk = name: lib.nixosSystem {{ modules = [ (./hosts + \"/${{name}}\") ]; }};\n    {bound}\n  in\n  {{\n    \
             nixosConfigurations = {hosts};\n  }}"
        )
    };
    let lists = "servers = [ \"web\" ];\n    laptops = [ \"db\" ];";
    let sets = "servers = {\n      web = mk \"web\";\n    };\n    laptops = {\n      db = mk \"db\";\n    };";
    let of = |bound: &str, hosts: &str| ground(&outputs(bound, hosts), &[("hosts/db/default.nix", &db)]);
    for (bound, hosts) in [
        (lists, "lib.genAttrs servers mk // lib.genAttrs laptops mk"),
        (lists, "lib.genAttrs (servers ++ laptops) mk"),
        (sets, "servers // laptops"),
    ] {
        for with_nix in [true, false] {
            let ground = of(bound, hosts);
            let ground = if with_nix { ground } else { ground.without_nix() };
            let text = ground.refused("new", &["--yes"], 6);
            assert!(
                text.contains("its hosts stand in several places (laptops, servers)")
                    && text.contains("--no-flake"),
                "{text}"
            );
        }
    }
    // A host of either table is known as there is.
    let text = of(sets, "servers // laptops")
        .without_nix()
        .refused("web", &["--yes"], 6);
    assert!(
        text.contains("already exists") || text.contains("several places"),
        "{text}"
    );
    // One that is written there, beside one that is made; and the arguments of a function.
    let text = of(sets, "{\n      web = mk \"web\";\n    } // laptops").made("new", &["--yes"]);
    assert!(
        text.contains("note: the flake has hosts in several places: new was put into")
            && text.contains("not into laptops"),
        "{text}"
    );
    if has_nix() {
        let text = of(
            &format!("{lists}\n    all = one: two: lib.genAttrs (one ++ two) mk;"),
            "all servers laptops",
        )
        .made("new", &["--yes"]);
        assert!(
            text.contains("new was put into laptops, and not into servers"),
            "{text}"
        );
    }
    // The control: one table.
    let text = of(sets, "laptops").made("new", &["--yes"]);
    assert!(!text.contains("several places"), "{text}");
}

/// What is called after the only neighbour, or after hardware, is told.
#[test]
fn hardware_and_modules_of_the_only_neighbour_are_told() {
    let system = |name: &str| {
        format!(
            "      {name} = nixpkgs.lib.nixosSystem {{\n        modules = [\n          ./hosts/{name}\n          ./hardware-configuration.nix\n          \
             ./disks/web-disk.nix\n        ];\n      }};\n"
        )
    };
    let listed = |hosts: &str| {
        format!("{{ self, nixpkgs, landfall, ... }}: {{\n    nixosConfigurations = {{\n{hosts}    }};\n  }}")
    };
    let made = "{ self, nixpkgs, landfall, ... }:\n  let\n    webModules = [ ];\n    mk = name: modules: nixpkgs.lib.nixosSystem { modules = [ (./hosts + \"/${name}\") ] ++ modules; };\n  in\n  {\n    \
                nixosConfigurations.web = mk \"web\" webModules;\n  }";
    let db = host("db");
    let more = [
        ("hosts/db/default.nix", db.as_str()),
        ("hardware-configuration.nix", "{ }\n"),
        ("disks/web-disk.nix", "{ }\n"),
    ];
    for (outputs, told) in [
        (
            listed(&system("web")),
            Some("no other host to compare with: ./hardware-configuration.nix, ./disks/web-disk.nix;"),
        ),
        // The control: what two hosts have is nobody's own.
        (listed(&(system("web") + &system("db"))), None),
        (
            made.to_owned(),
            Some("no other host to compare with: webModules;"),
        ),
    ] {
        let ground = ground(&outputs, &more);
        let output = ground.run("new", &["--yes"]);
        let text = format!("{}{}", said(&output.stdout), said(&output.stderr));
        if !output.status.success() {
            assert!(!has_nix(), "{text}");
            continue;
        }
        match told {
            Some(told) => assert!(text.contains(told), "{text}"),
            None => assert!(!text.contains("values of"), "{text}"),
        }
    }
}

/// A module that is called as a host is stays what it is.
#[test]
fn a_module_with_the_name_of_a_host_is_not_the_hosts() {
    let outputs = |modules: &str| {
        format!(
            "{{ self, nixpkgs, landfall, ... }}: {{\n    nixosConfigurations.desktop = nixpkgs.lib.nixosSystem {{\n      modules = [ {modules} ];\n    }};\n  }}"
        )
    };
    let named = host("desktop");
    let more = [
        ("modules/desktop.nix", "{ }\n"),
        ("configuration.nix", "{ }\n"),
        ("hosts/desktop/default.nix", named.as_str()),
        ("of/desktop.nix", named.as_str()),
    ];
    for (modules, main, has, told) in [
        (
            "./configuration.nix ./modules/desktop.nix { networking.hostName = \"desktop\"; }",
            "hosts/new/default.nix",
            "",
            "new has its own file and landfall's module alone: what the flake gives desktop besides",
        ),
        (
            "./hosts/desktop ./modules/desktop.nix",
            "hosts/new/default.nix",
            "./hosts/new ./modules/desktop.nix",
            "compare with: ./modules/desktop.nix;",
        ),
        // The controls: a file that says which host it is; and a folder of hosts.
        ("./of/desktop.nix", "of/new.nix", "./of/new.nix", ""),
        ("./hosts/desktop", "hosts/new/default.nix", "./hosts/new", ""),
    ] {
        let ground = ground(&outputs(modules), &more);
        let text = ground.made("new", &["--yes"]);
        assert!(
            ground.has(main) && !ground.has("modules/new.nix"),
            "{modules}: {text}"
        );
        assert!(
            ground.text("flake.nix").contains(has) && text.contains(told),
            "{modules}: {text}"
        );
        assert_eq!(
            text.contains("compare with") || text.contains("module alone"),
            !told.is_empty(),
            "{text}"
        );
    }
}

/// Line ends of Windows are none of what two hosts differ in.
#[test]
fn a_comment_before_a_line_end_of_windows_is_no_difference() {
    let flake = format!(
        "{{\n{INPUTS}  outputs = {{ self, nixpkgs, landfall, ... }}: let hosts = {{\n    web = {{\n      tags = [ \"a\" ]; # front\n      x = 1;\n    }};\n    db = {{\n      \
         tags = [ \"a\" ];\n      # alone\n      x = 1; /* end */\n    }};\n  }}; in {{\n    nixosConfigurations = builtins.mapAttrs (n: h: nixpkgs.lib.nixosSystem {{ modules = [ (./hosts + \"/${{n}}\") ]; }}) \
         hosts;\n  }};\n}}\n"
    );
    let (web, db) = (host("web"), host("db"));
    for line_end in ["\n", "\r\n"] {
        let flake = flake.replace('\n', line_end);
        let ground = Ground::new(
            &flake,
            &[("hosts/web/default.nix", &web), ("hosts/db/default.nix", &db)],
        );
        let output = ground.run("new", &["--yes"]);
        let text = format!("{}{}", said(&output.stdout), said(&output.stderr));
        assert!(!text.contains("differ in more"), "{text}");
        if output.status.success() {
            let after = ground.text("flake.nix");
            assert_eq!(
                after.matches('\n').count(),
                after.matches(line_end).count(),
                "{after}"
            );
        }
    }
}

/// A path with a name in it is the hosts' only where their name gets there: a file that the flake does not read is no host's.
#[test]
fn a_path_of_something_else_gets_no_host() {
    let mk = "mk = name: nixpkgs.lib.nixosSystem { modules = [ (./hosts + \"/${name}\") ]; };";
    let both = "web = mk \"web\"; db = mk \"db\";";
    let plain = "mk = hostName: nixpkgs.lib.nixosSystem { modules = [ ./configuration.nix { networking = { inherit hostName; }; } ]; };";
    let iso = "iso = nixpkgs.lib.nixosSystem { modules = [ ./configuration.nix { networking.hostName = \"iso\"; } ]; };";
    let laptop = "laptop = nixpkgs.lib.nixosSystem { modules = [ ./configuration.nix { networking.hostName = \"laptop\"; } { \
                  users.op = import ./home/${user}.nix; } ]; };";
    let roles = "role = of: import ./roles/${of}.nix;";
    let home = "home = user: import ./home/${user}.nix;";
    for (bound, hosts, own) in [
        ("user = \"op\";", laptop, true),
        (&format!("{home} {plain}"), both, true),
        (&format!("{roles} {plain}"), both, true),
        (&format!("{roles} user = \"op\";"), iso, true),
        // The controls: the name gets to the path.
        (&format!("{home} {mk}"), both, false),
        (&format!("{roles} {mk}"), both, false),
        (
            "at = { host, ... }: ./hosts/${host}; mk = name: nixpkgs.lib.nixosSystem { modules = [ (at { host = name; x = 1; }) ]; };",
            both,
            false,
        ),
    ] {
        for with_nix in [true, false] {
            let outputs = format!(
                "{{ self, nixpkgs, landfall, ... }}:\n  let\n    {bound}\n  in\n  {{\n    nixosConfigurations = {{ {hosts} }};\n  }}"
            );
            let db = host("db");
            let ground = ground(
                &outputs,
                &[
                    ("hosts/db/default.nix", db.as_str()),
                    ("configuration.nix", "{ }\n"),
                    ("home/op.nix", "{ }\n"),
                    ("roles/front.nix", "{ }\n"),
                ],
            );
            let ground = if with_nix { ground } else { ground.without_nix() };
            let text = ground.made("new", &["--yes"]);
            let flake = ground.text("flake.nix");
            assert!(ground.has("hosts/new/default.nix"), "{bound}: {text}");
            assert!(
                !ground.has("home/new.nix") && !ground.has("roles/new.nix"),
                "{text}"
            );
            assert_eq!(flake.contains("new = mk \"new\";"), !own, "{bound}: {flake}");
            assert_eq!(text.contains("landfall's module alone"), own, "{bound}: {text}");
        }
    }
}

/// A system by itself beside a table is no place for a host, nor is what is taken out of a table; two lists are told apart by nobody.
#[test]
fn a_host_goes_into_the_table_and_not_beside_an_installer() {
    let db = host("db");
    let of = |hosts: &str| {
        let outputs = format!(
            "{{ self, nixpkgs, landfall, ... }}:\n  let\n    inherit (nixpkgs) lib;\n    servers = [ \"web\" ];\n    mk = name: lib.nixosSystem {{ modules = [ (./hosts + \
             \"/${{name}}\") ]; }};\n    iso = lib.nixosSystem {{ modules = [ {{ networking.hostName = \"iso\"; }} ]; }};\n  in\n  {{\n    nixosConfigurations = {hosts};\n  }}"
        );
        ground(&outputs, &[("hosts/db/default.nix", &db)])
    };
    for (hosts, line) in [
        (
            "lib.genAttrs [ \"web\" \"db\" ] mk // { inherit iso; }",
            "\"db\" \"new\"",
        ),
        (
            "lib.genAttrs [ \"web\" \"db\" ] mk // { iso = iso; }",
            "\"db\" \"new\"",
        ),
        (
            "{ iso = iso; } // lib.genAttrs servers mk",
            "servers = [ \"web\" \"new\" ]",
        ),
        (
            "removeAttrs (lib.genAttrs servers mk) [ \"x\" ]",
            "servers = [ \"web\" \"new\" ]",
        ),
    ] {
        for with_nix in [true, false] {
            let ground = of(hosts);
            if with_nix && !has_nix() || !with_nix && hosts.starts_with("remove") {
                continue;
            }
            let ground = if with_nix { ground } else { ground.without_nix() };
            let text = ground.made("new", &["--yes"]);
            let flake = ground.text("flake.nix");
            assert!(flake.contains(line), "{hosts}: {flake}");
            assert!(!text.contains("[ \"x\" ]; "), "{text}");
        }
    }
    let text = of("lib.genAttrs (servers ++ [ \"db\" ]) mk").refused("new", &["--yes"], 6);
    assert!(text.contains("its hosts stand in several places"), "{text}");
}
