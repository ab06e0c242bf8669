//! Keys of venues: read once, before any shard starts, from where the topology says, and nowhere printed.
//!
//! The text is the same from a file and from the environment: the first line is the key's name as the venue gave it out
//! (Binance and Kraken: the API key; Coinbase: `organizations/.../apiKeys/...`), the lines after it are the secret (an HMAC
//! secret, base 64, or PEM). What is read here is wiped when it goes. A variable stays in the environment of the process,
//! where it stood before: a file is the better place.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use engine::orders::secret::{KeyError, Secret};
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};

use crate::topology::KeySource;

/// Bytes of a key's text, at most: an RSA key in PEM has some 3 KiB.
const KEY_BYTES_MAX: u64 = 16 << 10;

/// Name and secret of one account.
#[derive(Debug)]
pub struct AccountKey {
    /// The key's name, which travels in requests. Not printed either: it names the account.
    pub name: Secret,
    /// What signs.
    pub secret: Secret,
}

/// Why there is no key. Says where it was looked for and nothing of what was found.
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    /// The file cannot be read.
    #[error("key file {}: {source}; the user that runs this must be able to read it", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no plain file, or too large.
    #[error("key file {}: is no plain file of at most {KEY_BYTES_MAX} bytes", path.display())]
    NoFile {
        /// Which.
        path: PathBuf,
    },
    /// Others may read or write it.
    #[error("key file {}: its mode is {mode:04o}, others have a hand in it; chmod 600 it", path.display())]
    Mode {
        /// Which.
        path: PathBuf,
        /// Permission bits found.
        mode: u32,
    },
    /// It belongs to somebody else.
    #[error("key file {}: belongs to user {owner}, not to the one that runs this (or root)", path.display())]
    Owner {
        /// Which.
        path: PathBuf,
        /// Whom.
        owner: u32,
    },
    /// The variable is not there.
    #[error("variable {0} of the environment: is not set, or is no text; set it, or name a file instead")]
    Unset(String),
    /// One of the two parts is missing.
    #[error("{0}: has not two parts; the first line is the key's name, the lines after it are the secret")]
    Form(String),
    /// The secret is not of the venue's kind.
    #[error("{place}: {source}")]
    Key {
        /// Where it was read.
        place: String,
        /// What does not fit.
        source: KeyError,
    },
}

/// Reads a key.
///
/// # Errors
/// [`KeySourceError`]
pub fn read(source: &KeySource) -> Result<AccountKey, KeySourceError> {
    match source {
        KeySource::File(path) => split(&read_file(path)?, &place(source)),
        KeySource::Env(name) => {
            let text = std::env::var(name).map_err(|_| KeySourceError::Unset(name.clone()))?;
            split(&Secret::new(text.into_bytes()), &place(source))
        }
    }
}

/// Where a key is, in words.
pub fn place(source: &KeySource) -> String {
    match source {
        KeySource::File(path) => format!("key file {}", path.display()),
        KeySource::Env(name) => format!("variable {name} of the environment"),
    }
}

/// The file is opened once and everything is asked of what was opened, so that nobody can change it in between.
fn read_file(path: &Path) -> Result<Secret, KeySourceError> {
    let io = |source| KeySourceError::Io { path: path.to_owned(), source };
    // Not blocking: a pipe in its place must not hold the start.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() || metadata.len() > KEY_BYTES_MAX {
        return Err(KeySourceError::NoFile { path: path.to_owned() });
    }
    let mode = metadata.mode() & 0o7777;
    if !is_private(mode, metadata.uid(), metadata.gid()) {
        return Err(KeySourceError::Mode { path: path.to_owned(), mode });
    }
    if metadata.uid() != geteuid().as_raw() && metadata.uid() != 0 {
        return Err(KeySourceError::Owner { path: path.to_owned(), owner: metadata.uid() });
    }
    // Room from the start: a vector that grows leaves copies behind.
    let mut bytes = Vec::with_capacity(KEY_BYTES_MAX as usize + 1);
    file.take(KEY_BYTES_MAX).read_to_end(&mut bytes).map_err(io)?;
    Ok(Secret::new(bytes))
}

/// Whether nobody but its owner has a hand in it.
///
/// A credential of systemd is root's with mode 0440: the service's user may read it by an access list, and the list's mask shows
/// where the group's bits are. Root's group may read what is root's here, but not write it.
/// Seen: `LoadCredential=` with `DynamicUser=` of systemd 257; systemd 252 gives the file to the service's user, with mode 0400.
const fn is_private(mode: u32, owner: u32, group: u32) -> bool {
    let others = if owner == 0 && group == 0 { 0o037 } else { 0o077 };
    mode & others == 0
}

fn split(text: &Secret, place: &str) -> Result<AccountKey, KeySourceError> {
    let form = || KeySourceError::Form(place.to_owned());
    let text = text.expose_trimmed();
    let at = text.iter().position(|&byte| byte == b'\n').ok_or_else(form)?;
    let (name, secret) = (text[..at].trim_ascii(), text[at..].trim_ascii());
    let plain = name.iter().all(u8::is_ascii_graphic);
    if name.is_empty() || secret.is_empty() || !plain {
        return Err(form());
    }
    Ok(AccountKey { name: Secret::new(name.to_vec()), secret: Secret::new(secret.to_vec()) })
}

/// Keeps keys out of core dumps. A limit of 1 byte, not 0: Linux gives a dump to a handler (`core_pattern` with a pipe)
/// whatever the limit, but for this one.
///
/// Source: `fs/coredump.c`, `do_coredump`, Linux 6.18.
///
/// # Errors
/// What the system says.
pub fn without_core_dumps() -> std::io::Result<()> {
    let maximum = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: Some(maximum.map_or(1, |most| most.min(1))), maximum })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(name: &str, text: &str, mode: u32) -> PathBuf {
        let path = std::env::temp_dir().join(format!("meltica-key-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("a directory for temporary files");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("our own file");
        path
    }

    /// Reads it and says name and secret, or the message; the message never holds the secret.
    fn check(name: &str, text: &str, mode: u32, expected: &str) {
        let path = file(name, text, mode);
        let found = match read(&KeySource::File(path.clone())) {
            Ok(key) => {
                assert!(!format!("{key:?}").contains("hunter2"), "a key prints itself");
                let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
                format!("{} / {}", text(&key.name), text(&key.secret))
            }
            Err(error) => error.to_string().replace(&path.display().to_string(), "PATH"),
        };
        std::fs::remove_file(path).expect("our own file");
        assert!(found.contains(expected), "{found}");
        assert!(!expected.contains("key file") || !found.contains("hunter2"), "{found}");
    }

    #[test]
    fn a_key_is_two_parts_in_a_file_that_is_ours_alone() {
        check("good", "my-key\nhunter2\n", 0o600, "my-key / hunter2");
        check("pem", "my-key\r\n-----BEGIN X-----\nhunter2\n-----END X-----\n", 0o400, "my-key / -----BEGIN");
        check("open", "my-key\nhunter2\n", 0o660, "key file PATH: its mode is 0660");
        check("world", "my-key\nhunter2\n", 0o604, "key file PATH: its mode is 0604");
        check("one", "hunter2\n", 0o600, "key file PATH: has not two parts");
        check("spaced", "hunter2 and more\nx\n", 0o600, "key file PATH: has not two parts");
        check("empty", "", 0o600, "key file PATH: has not two parts");
        check("large", &"hunter2\n".repeat(4_000), 0o600, "key file PATH: is no plain file");
    }

    #[test]
    fn a_credential_of_systemd_is_private_and_what_others_may_read_is_not() {
        let cases = [
            (0o400, 1000, 1000, true),
            (0o600, 0, 0, true),
            (0o440, 0, 0, true),
            (0o440, 1000, 0, false),
            (0o440, 0, 1000, false),
            (0o640, 1000, 1000, false),
            (0o460, 0, 0, false),
            (0o444, 0, 0, false),
        ];
        for (mode, owner, group, private) in cases {
            assert_eq!(is_private(mode, owner, group), private, "{mode:o} {owner} {group}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = read(&KeySource::File(PathBuf::from("/nonexistent/key"))).expect_err("no such file");
        assert!(error.to_string().starts_with("key file /nonexistent/key: No such file"), "{error}");
        let error = read(&KeySource::Env("MELTICA_TEST_NO_SUCH_KEY".to_owned())).expect_err("not set");
        assert!(error.to_string().contains("MELTICA_TEST_NO_SUCH_KEY"), "{error}");
        let error = read(&KeySource::File(std::env::temp_dir())).expect_err("a directory");
        assert!(error.to_string().contains("no plain file"), "{error}");
    }
}
