use super::*;
use age::{Encryptor, Recipient, x25519};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Of nobody: its passphrase is `passphrase`, and one round makes a guess cheap.
const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\n\
    b3BlbnNzaC1rZXktdjEAAAAACmFlczI1Ni1jdHIAAAAGYmNyeXB0AAAAGAAAABCuMowziT\n\
    oIqFqDlpisSDMsAAAAAQAAAAEAAAAzAAAAC3NzaC1lZDI1NTE5AAAAIPcFSQbptS5QPZMc\n\
    vvwbvZhrfoyCdMIn5yg87slOZVL1AAAAkE7ODlWSCTsqa65RWmJmXwi7QiJz700I6CDHg3\n\
    ZHIwhO/dosl3Zulw5l8GmCkn0NvmbF0dsSvbO+V3KrCO2HmiD+/d3+mtfKOWhOaWX9L8OC\n\
    8LpRKHbPh5LDQ26ULgHUWkrFAq1plKLTSfFHV6/XRn2fUW+DqM0mYCfavhqNNCEW9PT+ei\n\
    I7qs3xRVsBEREUWw==\n\
    -----END OPENSSH PRIVATE KEY-----\n";
const PUBLIC: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPcFSQbptS5QPZMcvvwbvZhrfoyCdMIn5yg87slOZVL1 test";

/// Types this, or nothing; and how often it was asked.
#[derive(Clone)]
struct Typist(Option<&'static str>, Arc<AtomicUsize>);

impl Typist {
    fn new(types: Option<&'static str>) -> Typist {
        Typist(types, Arc::default())
    }

    fn asked(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }
}

impl Callbacks for Typist {
    fn display_message(&self, _: &str) {}

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, about: &str) -> Option<SecretString> {
        assert_eq!(about, "Type the passphrase of /k/enc");
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.map(|typed| SecretString::from(typed.to_owned()))
    }
}

fn encrypted(plain: &[u8], recipients: &[&dyn Recipient]) -> Vec<u8> {
    let encryptor = Encryptor::with_recipients(recipients.iter().copied()).unwrap();
    let mut bytes = vec![];
    let mut writer = encryptor.wrap_output(&mut bytes).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap();
    bytes
}

/// The plain text, or why there is none.
fn read(bytes: &[u8], identities: &[Box<dyn Identity>]) -> String {
    let identities = identities.iter().map(|one| one.as_ref());
    let read = crate::real::secrets::age_file::decrypted(bytes, identities, |reader| {
        let mut text = String::new();
        reader
            .read_to_string(&mut text)
            .map_err(|error| Undecrypted::while_read(&error))?;
        Ok(text)
    });
    read.unwrap_or_else(|why| why.to_string())
}

const NOBODY: &str = "the identity could not be used: /k/enc: it has a passphrase, and landfall cannot ask for it here (no terminal)";
const WRONG: &str = "the identity could not be used: /k/enc: the passphrase is wrong";
const OTHERS: &str = "it is encrypted for other identities; none of the given identities decrypts it";

/// A file of identities under a passphrase, which is cheap to guess.
fn sealed(identity: &x25519::Identity) -> Vec<u8> {
    use age::secrecy::ExposeSecret as _;
    let mut recipient = scrypt::Recipient::new(SecretString::from("passphrase".to_owned()));
    recipient.set_work_factor(2);
    let text = format!("# a comment\n{}\n", identity.to_string().expose_secret());
    encrypted(text.as_bytes(), &[&recipient])
}

#[test]
fn a_key_under_a_passphrase_is_told_from_one_of_somebody_else() {
    let (own, other) = (x25519::Identity::generate(), x25519::Identity::generate());
    let ssh: ssh::Recipient = PUBLIC.parse().unwrap();
    for (form, file, recipient) in [
        ("ssh", KEY.as_bytes().to_vec(), &ssh as &dyn Recipient),
        ("file", sealed(&own), &own.to_public()),
    ] {
        let secrets = [
            encrypted(b"one", &[&other.to_public(), recipient]),
            encrypted(b"two", &[recipient]),
        ];
        for (types, first) in [
            (Some("passphrase"), "one"),
            (Some("other"), WRONG),
            (Some(""), WRONG),
            (None, NOBODY),
        ] {
            let typist = Typist::new(types);
            let identities = found(&file, "/k/enc", &typist).unwrap();
            assert_eq!(typist.asked(), 0, "not before it is needed");
            assert_eq!(read(&secrets[0], &identities), first, "{form} {types:?}");
            let second = if first == "one" { "two" } else { first };
            assert_eq!(read(&secrets[1], &identities), second, "{form} {types:?}");
            assert_eq!(typist.asked(), 1, "once, however many there are");
            // Another identity that decrypts it is enough, before or behind it.
            for behind in [false, true] {
                let mut both = found(&file, "/k/enc", &typist).unwrap();
                both.insert(if behind { 1 } else { 0 }, Box::new(other.clone()));
                assert_eq!(read(&secrets[0], &both), "one", "{form} {types:?} {behind}");
            }
        }
        // One that is for others alone: of a key of ssh that is seen without its passphrase.
        let typist = Typist::new(Some("passphrase"));
        let identities = found(&file, "/k/enc", &typist).unwrap();
        let strange = encrypted(b"x", &[&other.to_public()]);
        assert_eq!(read(&strange, &identities), OTHERS, "{form}");
        assert_eq!(typist.asked(), if form == "ssh" { 0 } else { 1 }, "{form}");
    }
}

#[test]
fn what_is_no_identity_under_a_passphrase_is_said() {
    let own = x25519::Identity::generate();
    let typist = Typist::new(Some("passphrase"));
    let said = |bytes: &[u8]| match found(bytes, "/k/enc", &typist) {
        Ok(identities) => read(&encrypted(b"x", &[&own.to_public()]), &identities),
        Err(why) => why,
    };
    let mut recipient = scrypt::Recipient::new(SecretString::from("passphrase".to_owned()));
    recipient.set_work_factor(2);
    let no_key = said(&encrypted(b"nothing\n", &[&recipient]));
    assert!(
        no_key.contains("/k/enc: decrypted, its line 1 is neither"),
        "{no_key}"
    );
    let mut cut = sealed(&own);
    cut.truncate(cut.len() - 1);
    assert!(said(&cut).contains("damaged"), "{}", said(&cut));
    assert_eq!(said(&sealed(&own)), "x", "the control");
    // In its armored form, too.
    let mut armored = vec![];
    let mut writer =
        age::armor::ArmoredWriter::wrap_output(&mut armored, age::armor::Format::AsciiArmor).unwrap();
    writer.write_all(&sealed(&own)).unwrap();
    writer.finish().unwrap();
    assert_eq!(said(&armored), "x");
    // For an identity, which is not asked for here.
    let for_other = said(&encrypted(b"x", &[&own.to_public()]));
    assert!(
        for_other.contains("(umask 077; age --decrypt ") && for_other.contains("delete it: rm /dev/shm/"),
        "{for_other}"
    );
}
