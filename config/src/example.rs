//! The example file: every key with its default and what it is for.

use crate::{Config, layers, sections::SECTIONS};

/// A `config.toml` that says what is so without it. Every value is commented out, so that a default that is improved later
/// reaches those who never chose another.
pub fn example() -> String {
    let mut text =
        "# OpenLedger node configuration. Every line shows the default; remove the # in front to change it.\n\
                    # A flag goes before an environment variable (OPENLEDGER_SECTION__KEY), that before this file.\n"
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
    fn the_example_says_what_is_so_without_it() {
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
    fn there_are_fewer_than_forty_keys_and_each_is_explained() {
        let keys: Vec<_> = SECTIONS.iter().flat_map(|(_, _, keys)| keys.iter()).collect();
        assert!(keys.len() < 40, "{} keys", keys.len());
        assert!(keys.iter().all(|(_, doc)| !doc.is_empty()));
        assert_eq!(keys.len(), layers::flatten(&layers::table(&Config::default())).len());
    }
}
