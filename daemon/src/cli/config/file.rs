//! Edits `config.toml` and keeps everything else in it, comments included.

use std::{fs, io, path::Path};

use anyhow::Context as _;
use toml_edit::{Array, DocumentMut, Item, Table, Value};

use base::home::Home;

/// Sets a key to a value given on the command line. Returns the value as written to the file.
pub(crate) fn set(home: &Home, key: &str, text: &str) -> anyhow::Result<String> {
    // Loading it as a flag checks the key, the type and the range.
    let no_home = std::env::temp_dir().join("openledger-no-such-home");
    let flag = (key.to_owned(), text.to_owned());
    let loaded = config::Config::load(&no_home, None, [], [flag])?;
    let setting = loaded.settings().into_iter().find(|setting| setting.key == key);
    let value = setting.expect("a key that loads is shown").value;
    let parsed: Value = value.parse().context("a value that loads is TOML")?;
    change(&home.config(), key, |item| *item = Item::Value(parsed))?;
    Ok(value)
}

/// Adds an item to a list. Returns false if the list has it already.
pub(crate) fn append(home: &Home, key: &str, text: &str) -> anyhow::Result<bool> {
    let mut added = false;
    change(&home.config(), key, |item| {
        if !item.is_array() {
            *item = Item::Value(Array::new().into());
        }
        let list = item.as_array_mut().expect("it was just made one");
        added = !list.iter().any(|known| known.as_str() == Some(text));
        if added {
            list.push(text);
        }
    })?;
    Ok(added)
}

fn change(path: &Path, key: &str, edit: impl FnOnce(&mut Item)) -> anyhow::Result<()> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => config::example(),
        text => text.with_context(|| format!("could not read {}", path.display()))?,
    };
    let text = edited(&text, key, edit).with_context(|| format!("{} is not valid TOML; correct it", path.display()))?;
    // Atomic: a node that starts meanwhile reads the old file or the new one.
    let next = path.with_extension("toml.next");
    fs::write(&next, text)
        .and_then(|()| fs::rename(&next, path))
        .with_context(|| format!("could not write {}", path.display()))
}

fn edited(text: &str, key: &str, edit: impl FnOnce(&mut Item)) -> anyhow::Result<String> {
    let (section, key) = key.split_once('.').expect("every known key has a section");
    let mut file: DocumentMut = uncommented(text, section, key).parse()?;
    let table = file.entry(section).or_insert_with(|| Item::Table(Table::new()));
    let table = table.as_table_like_mut().context("a section is not a table")?;
    edit(table.entry(key).or_insert(Item::None));
    Ok(file.to_string())
}

/// Removes the `# ` before the default of a key that is not set, so that the new value stands below the key's own comment.
fn uncommented(text: &str, section: &str, key: &str) -> String {
    let start = format!("{key} = ");
    let is_set = |line: &&str| line.starts_with(&start);
    let of_section = || {
        let lines = text.lines().skip_while(|line| *line != format!("[{section}]"));
        lines.skip(1).take_while(|line| !line.starts_with('['))
    };
    let default = of_section().find(|line| line.strip_prefix("# ").is_some_and(|line| is_set(&line)));
    let (Some(default), None) = (default, of_section().find(is_set)) else {
        return text.to_owned();
    };
    // Slices of one string: the offset of the line within it.
    let at = default.as_ptr() as usize - text.as_ptr() as usize;
    format!("{}{}", &text[..at], &text[at + 2..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(text: &str) -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.toml"), text).unwrap();
        let home = Home::new(dir.path());
        (dir, home)
    }

    #[test]
    fn one_key_changes_and_the_comments_stay() {
        let (_dir, home) = home("# mine\n[rpc]\n# why\nlisten = \"127.0.0.1:1\" # here\n\n[log]\nlevel = \"debug\"\n");
        assert_eq!(set(&home, "rpc.listen", "127.0.0.1:2").unwrap(), "\"127.0.0.1:2\"");
        set(&home, "mempool.max_transactions", "7").unwrap();
        let text = fs::read_to_string(home.config()).unwrap();
        assert!(
            text.starts_with("# mine\n[rpc]\n# why\nlisten = \"127.0.0.1:2\""),
            "{text}"
        );
        let loaded = config::Config::load(home.root(), None, [], []).unwrap().config;
        assert_eq!(
            (loaded.mempool.max_transactions, loaded.log.level.as_str()),
            (7, "debug")
        );
    }

    #[test]
    fn a_key_that_is_set_for_the_first_time_stands_below_its_comment() {
        let (_dir, home) = home(&config::example());
        set(&home, "rpc.listen", "127.0.0.1:2").unwrap();
        set(&home, "network.listen", "[\"/ip4/10.0.0.1/tcp/1\"]").unwrap();
        let text = fs::read_to_string(home.config()).unwrap();
        let below = "# Address to listen on, for HTTP and WebSocket.\nlisten = \"127.0.0.1:2\"\n";
        assert!(text.contains(below), "{text}");
        assert!(text.contains("\nlisten = [\"/ip4/10.0.0.1/tcp/1\"]\n"), "{text}");
        assert_eq!(text.lines().count(), config::example().lines().count());
    }

    #[test]
    fn a_value_that_does_not_fit_changes_nothing() {
        let (_dir, home) = home("");
        for (key, value) in [
            ("rpc.listen", "8545"),
            ("rpc.lisen", "127.0.0.1:1"),
            ("network.max_peers", "0"),
        ] {
            assert!(set(&home, key, value).is_err(), "{key}");
        }
        assert_eq!(fs::read_to_string(home.config()).unwrap(), "");
    }

    #[test]
    fn a_list_takes_each_entry_once() {
        let (_dir, home) = home(&config::example());
        assert!(append(&home, "network.bootstrap", "/ip4/10.0.0.1/tcp/1").unwrap());
        assert!(!append(&home, "network.bootstrap", "/ip4/10.0.0.1/tcp/1").unwrap());
        assert!(append(&home, "network.bootstrap", "/ip4/10.0.0.2/tcp/1").unwrap());
        let loaded = config::Config::load(home.root(), None, [], []).unwrap().config;
        assert_eq!(loaded.network.bootstrap, ["/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/1"]);
    }
}
