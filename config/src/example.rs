//! The example file: every key with its default and its doc.

use crate::{Config, layers, sections::SECTIONS};

/// Writes a `config.toml` with all keys and defaults. Every value is commented out, so that a better default of a later
/// version applies to nodes whose operator never chose another.
pub fn example() -> String {
    let mut text = "# OpenLedger node configuration. Each line shows a default; remove the # to change it.\n\
                    # Flags override environment variables (OPENLEDGER_SECTION__KEY), which override this file.\n"
        .to_owned();
    let defaults = layers::flatten(&layers::table(&Config::default()));
    for (section, about, keys) in SECTIONS {
        text.push('\n');
        about.iter().for_each(|line| text.push_str(&format!("#{line}\n")));
        text.push_str(&format!("[{section}]\n"));
        for (key, doc) in keys {
            doc.iter().for_each(|line| text.push_str(&format!("#{line}\n")));
            text.push_str(&format!("# {key} = {}\n", defaults[&format!("{section}.{key}")]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_equals_the_defaults() {
        let text = example();
        assert_eq!(toml::from_str::<Config>(&text).expect("as it is"), Config::default());
        // With every value in force: lines such as `# key = value`.
        let in_force: String = text
            .lines()
            .map(|line| {
                line.strip_prefix("# ")
                    .filter(|rest| rest.split(' ').nth(1) == Some("="))
                    .unwrap_or(line)
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let read: toml::Table = toml::from_str(&in_force).expect("valid");
        assert_eq!(
            layers::flatten(&read),
            layers::flatten(&layers::table(&Config::default()))
        );
        assert_eq!(toml::from_str::<Config>(&in_force).expect("valid"), Config::default());
    }

    #[test]
    fn there_are_fewer_than_forty_keys_and_each_has_a_doc() {
        let keys: Vec<_> = SECTIONS.iter().flat_map(|(_, _, keys)| keys.iter()).collect();
        assert!(keys.len() < 40, "{} keys", keys.len());
        assert!(keys.iter().all(|(_, doc)| !doc.is_empty()));
        assert_eq!(keys.len(), layers::flatten(&layers::table(&Config::default())).len());
    }
}
