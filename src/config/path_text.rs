//! What a text is that was given where the path of a file on the installer belongs: a path of another form, or what the file has in it.
//!
//! Nothing is looked up, and no variable is replaced.
//!
//! `places` refuses such texts, and `refused` decides what of them is repeated.

/// Longest name of a user in front of a path.
const USER_CHARS_MAX: usize = 16;

/// Whether a text begins as a path does, and as no key: at the root, in a home directory, or in the folder where somebody is.
pub(super) fn begins_as_path(text: &str) -> bool {
    let home = text.strip_prefix('~').and_then(|rest| rest.split_once('/'));
    let is_name = |name: &str| {
        name.len() <= USER_CHARS_MAX && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    let heads = ["/", "./", "../", "$HOME/", "${HOME}/", "file:/"];
    heads.iter().any(|head| text.starts_with(head)) || home.is_some_and(|(name, _)| is_name(name))
}

/// What to do about host keys themselves.
pub(super) const KNOWN_HOSTS: &str = "write the host keys into a file on the installer, one in a line, and its path here, such as \"/etc/ssh/ssh_known_hosts\"";

/// Whether a text has a host key or a public key in it, as known_hosts has them: a type, a blank, and base64.
pub(super) fn has_public_key(text: &str) -> bool {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.iter().zip(words.iter().skip(1)).any(|(kind, key)| {
        let is_kind = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"]
            .iter()
            .any(|head| kind.starts_with(head));
        is_kind && key.starts_with("AAAA")
    })
}
