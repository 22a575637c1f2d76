//! Passwords: read from a file of mode 0600, or typed at the terminal without an echo.

use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use storage::secret;
use zeroize::Zeroizing;

use crate::cli::exit::{Exit, ended};

/// Shortest password of a new account.
const LENGTH_MIN: usize = 8;

/// The source of a password.
#[derive(Clone, Debug, Args)]
pub(crate) struct PasswordFile {
    /// Read the password from the first line of this file, which must have mode 0600, instead of asking for it
    #[arg(long, env = "OPENLEDGER_PASSWORD_FILE", value_name = "FILE", hide_env_values = true)]
    password_file: Option<PathBuf>,
}

type Password = Zeroizing<Vec<u8>>;

impl PasswordFile {
    /// Reads the password of an existing keystore.
    pub(crate) fn ask(&self, what: &str) -> anyhow::Result<Password> {
        match &self.password_file {
            Some(file) => {
                let text =
                    secret::read(file).with_context(|| format!("could not use --password-file {}", file.display()))?;
                Ok(first_line(&text))
            }
            None => prompt(what),
        }
    }

    /// Reads a new password: typed twice, and at least [`LENGTH_MIN`] bytes long.
    pub(crate) fn choose(&self) -> anyhow::Result<Password> {
        let password = self.ask("New password")?;
        if password.len() < LENGTH_MIN {
            let text = format!("the password is shorter than {LENGTH_MIN} characters; choose a longer one");
            return Err(ended(Exit::Failed, text).into());
        }
        if self.password_file.is_none() && prompt("Repeat the password")? != password {
            return Err(ended(Exit::Failed, "the two passwords differ; try again").into());
        }
        Ok(password)
    }
}

fn first_line(text: &[u8]) -> Password {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Zeroizing::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
}

fn prompt(what: &str) -> anyhow::Result<Password> {
    let input = io::stdin();
    if !input.is_terminal() {
        let text =
            "a password is required and there is no terminal to ask for it; give a file with --password-file FILE";
        return Err(ended(Exit::Usage, text).into());
    }
    let _echo_off = EchoOff::start().context("could not turn off the terminal's echo; use --password-file FILE")?;
    let mut remark = io::stderr().lock();
    // The password can be typed even if the prompt cannot be shown.
    drop(write!(remark, "{what}: ").and_then(|()| remark.flush()));
    let mut line = Zeroizing::new(Vec::with_capacity(256));
    input
        .lock()
        .read_until(b'\n', &mut line)
        .context("could not read the password")?;
    drop(writeln!(remark));
    Ok(first_line(&line))
}

/// Turns off the echo of the terminal until it is dropped.
struct EchoOff(Termios);

impl EchoOff {
    fn start() -> rustix::io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        // A failure cannot be reported from here.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_of_its_file() {
        for (text, password) in [("a b\n", "a b"), ("a b", "a b"), ("a\r\nb\n", "a"), ("", "")] {
            assert_eq!(first_line(text.as_bytes()).as_slice(), password.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn a_new_password_is_not_too_short_and_its_file_not_for_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        secret::write(&path, b"short\n").unwrap();
        let file = PasswordFile {
            password_file: Some(path.clone()),
        };
        assert!(file.choose().unwrap_err().to_string().contains("shorter than 8"));
        assert_eq!(file.ask("").unwrap().as_slice(), b"short");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(Exit::of(&file.ask("").unwrap_err()), Exit::Denied);
    }
}
