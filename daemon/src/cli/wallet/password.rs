//! Passwords: from a file (0600), else from the person at the terminal, without an echo.

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

/// Where a password comes from.
#[derive(Clone, Debug, Args)]
pub(crate) struct PasswordFile {
    /// Read the password from the first line of this file instead of asking for it; mode 0600
    #[arg(long, env = "OPENLEDGER_PASSWORD_FILE", value_name = "FILE", hide_env_values = true)]
    password_file: Option<PathBuf>,
}

type Password = Zeroizing<Vec<u8>>;

impl PasswordFile {
    /// The password of something that has one.
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

    /// A password for something new: asked for twice, and not too short.
    pub(crate) fn choose(&self) -> anyhow::Result<Password> {
        let password = self.ask("New password")?;
        if password.len() < LENGTH_MIN {
            let text = format!("the password has less than {LENGTH_MIN} characters; choose a longer one");
            return Err(ended(Exit::Failed, text).into());
        }
        if self.password_file.is_none() && prompt("The same again")? != password {
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
            "a password is needed and there is no terminal to ask at; give it in a file with --password-file FILE";
        return Err(ended(Exit::Usage, text).into());
    }
    let _quiet = Quiet::start().context("could not turn off the terminal's echo; use --password-file FILE")?;
    let mut remark = io::stderr().lock();
    // If the prompt cannot be shown the password can still be typed.
    drop(write!(remark, "{what}: ").and_then(|()| remark.flush()));
    let mut line = Zeroizing::new(Vec::with_capacity(256));
    input
        .lock()
        .read_until(b'\n', &mut line)
        .context("could not read the password")?;
    drop(writeln!(remark));
    Ok(first_line(&line))
}

/// The terminal without an echo, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    fn start() -> rustix::io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // There is nobody left to tell.
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
        assert!(file.choose().unwrap_err().to_string().contains("less than 8"));
        assert_eq!(file.ask("").unwrap().as_slice(), b"short");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(Exit::of(&file.ask("").unwrap_err()), Exit::Denied);
    }
}
