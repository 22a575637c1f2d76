//! Checks of the home folder: it exists, only its owner may write to it, its configuration loads, its keys are secret.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use storage::secret;

use super::Check;
use crate::{cli::Globals, wallet::Wallet};
use base::{errors::chained, home::Home, key};

pub(super) fn checks(globals: &Globals) -> Vec<Check> {
    let home = globals.home();
    let mut checks = vec![root(&home)];
    if !home.root().is_dir() {
        return checks;
    }
    checks.push(configuration(globals));
    checks.push(key_file("node key", &home.node_key(), true));
    checks.push(key_file("validator key", &home.validator_key(), false));
    checks.push(accounts(&home));
    checks
}

fn root(home: &Home) -> Check {
    let (name, path) = ("home", home.root().display());
    let Ok(about) = fs::metadata(home.root()) else {
        return Check::bad(
            name,
            format!("{path} does not exist"),
            "run `openledger init`, or name another folder with --home",
        );
    };
    let mode = about.permissions().mode() & 0o777;
    if !about.is_dir() {
        Check::bad(name, format!("{path} is not a folder"), "name a folder with --home")
    } else if rustix::fs::access(home.root(), rustix::fs::Access::WRITE_OK).is_err() {
        Check::bad(
            name,
            format!("{path} is not writable"),
            format!("give it to the user of the node: chown -R USER {path}"),
        )
    } else if mode & 0o022 != 0 {
        Check::bad(
            name,
            format!("others may write to {path} (mode {mode:04o})"),
            format!("run: chmod go-w {path}"),
        )
    } else {
        Check::good(name, path.to_string())
    }
}

fn configuration(globals: &Globals) -> Check {
    match globals.config() {
        Ok(loaded) => Check::good("configuration", format!("network {}", loaded.config.node.network)),
        Err(why) => Check::bad(
            "configuration",
            format!("{why:#}"),
            "correct it, then run `openledger config check`",
        ),
    }
}

fn key_file(name: &'static str, path: &Path, needed: bool) -> Check {
    if !path.exists() {
        return match needed {
            true => Check::bad(
                name,
                format!("{} is missing", path.display()),
                "restore it from a backup, or run `openledger init`",
            ),
            false => Check::good(name, "none: this node follows the chain and does not vote"),
        };
    }
    match key::read(path) {
        Ok(_) => Check::good(name, format!("{}, mode 0600", path.display())),
        Err(why) => Check::bad(
            name,
            chained(&why),
            format!("chmod 600 {}, or restore it from a backup", path.display()),
        ),
    }
}

fn accounts(home: &Home) -> Check {
    let (name, wallet) = ("accounts", Wallet::new(home));
    let accounts = match wallet.accounts() {
        Ok(accounts) => accounts,
        Err(why) => {
            return Check::bad(
                name,
                chained(&why),
                "make keys/accounts readable for the user that runs the node",
            );
        }
    };
    let exposed = accounts
        .iter()
        .map(|account| wallet.file(*account))
        .find(|file| secret::read(file).is_err());
    match exposed {
        Some(file) => {
            let what = format!("{} is readable by others, or not readable at all", file.display());
            Check::bad(name, what, format!("run: chmod 600 {}", file.display()))
        }
        None => Check::good(name, format!("{} keystores", accounts.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::State;

    #[test]
    fn a_key_that_others_may_read_is_bad_and_a_missing_validator_key_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        assert_eq!(key_file("node key", &path, true).state, State::Bad);
        assert_eq!(key_file("validator key", &path, false).state, State::Good);
        key::read_or_create(&path).unwrap();
        assert_eq!(key_file("node key", &path, true).state, State::Good);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let check = key_file("node key", &path, true);
        assert!(
            check.state == State::Bad && check.what.contains("chmod 600"),
            "{check:?}"
        );
    }

    #[test]
    fn a_home_that_others_may_write_to_is_bad() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        assert_eq!(root(&home).state, State::Good);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(
            root(&home).fix,
            Some(format!("run: chmod go-w {}", dir.path().display()))
        );
        assert_eq!(root(&Home::new(dir.path().join("none"))).state, State::Bad);
    }
}
