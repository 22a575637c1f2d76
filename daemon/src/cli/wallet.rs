//! `openledger wallet …`: accounts of this home, and OPEN sent from them.
//!
//! | verb      | `--json`                                                                              |
//! |-----------|---------------------------------------------------------------------------------------|
//! | `new`     | `{"account", "file"}`                                                                 |
//! | `list`    | `{"accounts": [{"account", "file"}]}`                                                 |
//! | `import`  | `{"account", "file"}`                                                                 |
//! | `export`  | `{"account", "file"}`, or `{"account", "private_key"}` where the bare key is wanted   |
//! | `balance` | `{"account", "balance", "wei", "nonce"}`, `balance` in OPEN                           |
//! | `send`    | see [`send`]                                                                          |
//! | `dev`     | `{"accounts": [{"name", "account", "private_key"}]}`                                  |
//!
//! A password comes from a prompt or a file, never from the command line, where every user of the machine could read it.

mod party;
mod password;
mod send;

use std::{
    io::{self, Read as _},
    path::PathBuf,
};

use alloy_primitives::{Address, U64, U256};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use self::{party::Party, password::PasswordFile};
use super::{Place, chain::open_amount, exit::Exit, output, place::wait};
use crate::wallet;
use base::home::Home;
use chain::genesis::DEV_ACCOUNTS;

/// Longest key or keystore that is read.
const KEY_BYTES_MAX: u64 = 1 << 16;

/// Make accounts and send OPEN
#[derive(Debug, Args)]
pub(crate) struct Wallet {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a new account
    #[command(after_help = "Example: openledger wallet new --password-file secret.txt")]
    New {
        #[command(flatten)]
        password: PasswordFile,
    },
    /// List the accounts of this home
    #[command(after_help = "Example: openledger wallet list")]
    List,
    /// Take in an account: a keystore, or a private key in hexadecimal
    #[command(after_help = "Example: openledger wallet import keystore.json")]
    Import {
        /// The file that holds it; - for standard input
        file: PathBuf,
        #[command(flatten)]
        password: PasswordFile,
    },
    /// Print where the keystore of an account is, or its private key
    #[command(after_help = "Example: openledger wallet export 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")]
    Export {
        /// Which account
        account: Address,
        /// Print the private key itself; whoever sees it owns the account
        #[arg(long)]
        reveal: bool,
        #[command(flatten)]
        password: PasswordFile,
    },
    /// Print what an account has
    #[command(after_help = "Example: openledger wallet balance dev0")]
    Balance {
        /// An address, or dev0 to dev9 on a development network
        #[arg(value_name = "ADDR")]
        account: Party,
    },
    Send(send::Send),
    /// List the funded accounts of a development network, private keys included
    #[command(after_help = "Example: openledger wallet dev")]
    Dev,
}

impl Wallet {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<Exit> {
        let home = place.home();
        match self.verb {
            Verb::New { password } => {
                made(place, &home)?;
                let account = wallet::Wallet::new(&home).create(&password.choose()?)?;
                show_account(place, &home, account, "made");
            }
            Verb::List => list(place, &home)?,
            Verb::Import { file, password } => {
                made(place, &home)?;
                let account = import(&home, &file, &password)?;
                show_account(place, &home, account, "took in");
            }
            Verb::Export {
                account,
                reveal,
                password,
            } => export(place, &home, account, reveal, &password)?,
            Verb::Balance { account } => balance(place, account.address())?,
            Verb::Send(send) => return send.run(place),
            Verb::Dev => dev(place),
        }
        Ok(Exit::Done)
    }
}

/// Accounts belong to a home that was made.
fn made(place: &Place, home: &Home) -> anyhow::Result<()> {
    if home.config().exists() {
        return Ok(());
    }
    Err(place.no_home("there is no node").into())
}

fn show_account(place: &Place, home: &Home, account: Address, verb: &str) {
    let file = wallet::Wallet::new(home).file(account);
    place.show(&json!({ "account": account, "file": file }), || account.to_string());
    output::note(&format!(
        "{verb} it in {}; back that file up, and its password: nobody can restore them",
        file.display()
    ));
}

fn list(place: &Place, home: &Home) -> anyhow::Result<()> {
    let wallet = wallet::Wallet::new(home);
    let accounts = wallet.accounts()?;
    let shown: Vec<_> = accounts
        .iter()
        .map(|account| json!({ "account": account, "file": wallet.file(*account) }))
        .collect();
    if accounts.is_empty() {
        output::note("there is no account in this home; `openledger wallet new` makes one");
    }
    if place.json || !accounts.is_empty() {
        place.show(&json!({ "accounts": shown }), || {
            accounts.iter().map(Address::to_string).collect::<Vec<_>>().join("\n")
        });
    }
    Ok(())
}

/// A keystore keeps its password; a bare key gets one.
fn import(home: &Home, file: &PathBuf, password: &PasswordFile) -> anyhow::Result<Address> {
    let wallet = wallet::Wallet::new(home);
    let read_all = |from: &mut dyn io::Read| -> io::Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        from.take(KEY_BYTES_MAX).read_to_string(&mut text)?;
        Ok(text)
    };
    if file.as_os_str() == "-" {
        let key = read_all(&mut io::stdin()).context("could not read the key from standard input")?;
        return Ok(wallet.import(&key, &password.choose()?)?);
    }
    let text = std::fs::File::open(file).and_then(|mut file| read_all(&mut file));
    let text = text.with_context(|| format!("could not read FILE {}", file.display()))?;
    if text.trim_start().starts_with('{') {
        return Ok(wallet.import_keystore(file, &password.ask("Password of the keystore")?)?);
    }
    Ok(wallet.import(&text, &password.choose()?)?)
}

fn export(place: &Place, home: &Home, account: Address, reveal: bool, password: &PasswordFile) -> anyhow::Result<()> {
    let wallet = wallet::Wallet::new(home);
    let file = wallet.file(account);
    if !file.exists() {
        return Err(wallet::WalletError::Unknown(account).into());
    }
    if !reveal {
        place.show(&json!({ "account": account, "file": file }), || {
            file.display().to_string()
        });
        output::note("this keystore opens in any Ethereum wallet with its password; --reveal prints the bare key");
        return Ok(());
    }
    let signer = wallet.unlock(account, &password.ask(&format!("Password of {account}"))?)?;
    let key = Zeroizing::new(signer.to_bytes().to_string());
    place.show(&json!({ "account": account, "private_key": *key }), || key.to_string());
    Ok(())
}

fn balance(place: &Place, account: Address) -> anyhow::Result<()> {
    let running = place.running()?;
    let (balance, nonce) = wait(async {
        let balance: U256 = running.call("eth_getBalance", json!([account, "latest"])).await?;
        let nonce: U64 = running
            .call("eth_getTransactionCount", json!([account, "latest"]))
            .await?;
        Ok((balance, nonce))
    })?;
    let shown = json!({
        "account": account,
        "balance": open_amount(balance),
        "wei": balance.to_string(),
        "nonce": nonce.to::<u64>(),
    });
    place.show(&shown, || open_amount(balance));
    Ok(())
}

fn dev(place: &Place) {
    let account = |(number, (account, key)): (usize, &(Address, &str))| json!({ "name": format!("dev{number}"), "account": account, "private_key": format!("0x{key}") });
    let accounts: Vec<_> = DEV_ACCOUNTS.iter().enumerate().map(account).collect();
    place.show(&json!({ "accounts": accounts }), || {
        let line = |(number, (account, key)): (usize, &(Address, &str))| format!("dev{number}  {account}  0x{key}");
        DEV_ACCOUNTS.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
    });
    output::note("everybody knows these keys: they are for development networks, and hold nothing anywhere else");
}
