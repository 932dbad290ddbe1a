//! A repository with secrets, and the people and machines that read them.
//!
//! The tests themselves make and read the secrets with the crate `age`; agenix is not needed.

use super::kit::{Ground, fixtures, host};
use age::armor::{ArmoredReader, ArmoredWriter, Format};
use age::{Decryptor, Encryptor, Identity, Recipient};
use fs_err as fs;
use ssh_key::{Algorithm, LineEnding, PrivateKey, rand_core::OsRng};
use std::io::{Read, Write};

/// The people and machines of a repository.
pub struct People {
    /// Reads with ssh.
    pub op: PrivateKey,
    /// Reads with age.
    pub web: age::x25519::Identity,
    /// Reads nothing but what is for all hosts.
    pub db: age::x25519::Identity,
}

impl People {
    pub fn new() -> People {
        People {
            op: PrivateKey::random(&mut OsRng, Algorithm::Ed25519).unwrap(),
            web: age::x25519::Identity::generate(),
            db: age::x25519::Identity::generate(),
        }
    }

    pub fn op_public(&self) -> String {
        self.op.public_key().to_openssh().unwrap()
    }

    pub fn op_identity(&self) -> Box<dyn Identity> {
        let text = self.op.to_openssh(LineEnding::LF).unwrap();
        Box::new(age::ssh::Identity::from_buffer(text.as_bytes(), None).unwrap())
    }

    /// Rules in the form of agenix's tutorial.
    pub fn rules(&self) -> String {
        format!(
            "let\n  op = \"{}\";\n  users = [ op ];\n\n  web = \"{}\";\n  db = \"{}\"; # the database\n  systems = [ web db ];\nin\n{{\n  \
             \"all.age\".publicKeys = users ++ systems;\n  \"web.age\".publicKeys = [ op web ];\n  \"armored.age\" = {{\n    publicKeys = users ++ \
             systems;\n    armor = true;\n  }};\n  \"later.age\".publicKeys = users ++ systems;\n}}\n",
            self.op_public(),
            self.web.to_public(),
            self.db.to_public()
        )
    }

    pub fn ground(&self) -> Ground {
        let flake = fs::read_to_string(fixtures().join("flakes/plain.nix")).unwrap();
        let ground = Ground::new(
            &flake,
            &[
                ("hosts/web/default.nix", &host("web")),
                ("hosts/web/installer.nix", "{ }\n"),
                ("secrets/secrets.nix", &self.rules()),
            ],
        );
        let op: age::ssh::Recipient = self.op_public().parse().unwrap();
        let (web, db) = (self.web.to_public(), self.db.to_public());
        ground.put(
            "secrets/all.age",
            &encrypted(b"for all\n", &[&op, &web, &db], false),
        );
        ground.put("secrets/web.age", &encrypted(b"for web\n", &[&op, &web], false));
        ground.put(
            "secrets/armored.age",
            &encrypted(b"armored\n", &[&op, &web, &db], true),
        );
        ground.git(&["add", "--all"]);
        ground.git(&["commit", "--quiet", "--message", "secrets"]);
        let identity = ground.home().join(".ssh/id_ed25519");
        fs::create_dir_all(identity.parent().unwrap()).unwrap();
        fs::write(identity, self.op.to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
        ground
    }
}

pub fn encrypted(plain: &[u8], recipients: &[&dyn Recipient], armor: bool) -> Vec<u8> {
    let encryptor = Encryptor::with_recipients(recipients.iter().copied()).unwrap();
    let format = if armor { Format::AsciiArmor } else { Format::Binary };
    let mut writer = encryptor
        .wrap_output(ArmoredWriter::wrap_output(vec![], format).unwrap())
        .unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap().finish().unwrap()
}

pub fn decrypted(ground: &Ground, name: &str, identity: &dyn Identity) -> Option<String> {
    let bytes = fs::read(ground.root().join(name)).unwrap();
    let decryptor = Decryptor::new(ArmoredReader::new(&bytes[..])).unwrap();
    let mut text = String::new();
    decryptor
        .decrypt(std::iter::once(identity))
        .ok()?
        .read_to_string(&mut text)
        .unwrap();
    Some(text)
}

pub fn new_identity(ground: &Ground) -> age::x25519::Identity {
    let text = fs::read_to_string(ground.keys().join("age-identity")).unwrap();
    text.lines()
        .find(|line| !line.starts_with('#'))
        .unwrap()
        .parse()
        .unwrap()
}
