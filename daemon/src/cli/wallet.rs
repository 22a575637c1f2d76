//! `openledger wallet`: creates and lists the accounts of this home, and sends OPEN from them.
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
use super::{Globals, chain::open_amount, exit::Exit, globals::wait, output};
use crate::wallet;
use base::home::Home;
use chain::genesis::DEV_ACCOUNTS;

/// Largest key or keystore file that is read.
const KEY_BYTES_MAX: u64 = 1 << 16;

/// Create accounts and send OPEN
#[derive(Debug, Args)]
#[command(after_help = "Example: openledger wallet send --from dev0 --to dev1 --amount 1.5 --wait")]
pub(crate) struct Wallet {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create an account
    #[command(after_help = "Example: openledger wallet new --password-file secret.txt\n\nJSON: {account, file}")]
    New {
        #[command(flatten)]
        password: PasswordFile,
    },
    /// List the accounts of this home
    #[command(after_help = "Example: openledger wallet list\n\nJSON: {accounts: [{account, file}]}")]
    List,
    /// Import a keystore, or a private key in hexadecimal
    #[command(after_help = "Example: openledger wallet import keystore.json\n\nJSON: {account, file}")]
    Import {
        /// File with the keystore or key; - for standard input
        file: PathBuf,
        #[command(flatten)]
        password: PasswordFile,
    },
    /// Print the path of an account's keystore, or its private key
    #[command(
        after_help = "Example: openledger wallet export 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\n\
                      JSON: {account, file}, or with --reveal {account, private_key}"
    )]
    Export {
        /// Address of the account
        account: Address,
        /// Print the private key itself, which gives full control of the account
        #[arg(long)]
        reveal: bool,
        #[command(flatten)]
        password: PasswordFile,
    },
    /// Print the balance of an account
    #[command(
        after_help = "Example: openledger wallet balance dev0\n\nJSON: {account, balance, wei, nonce}; balance is in OPEN"
    )]
    Balance {
        /// An address, or dev0 to dev9 on a development network
        #[arg(value_name = "ADDR")]
        account: Party,
    },
    Send(send::Send),
    /// List the funded accounts of a development network, with their private keys
    #[command(after_help = "Example: openledger wallet dev\n\nJSON: {accounts: [{name, account, private_key}]}")]
    Dev,
}

impl Wallet {
    pub(crate) fn run(self, globals: &Globals) -> anyhow::Result<Exit> {
        let home = globals.home();
        match self.verb {
            Verb::New { password } => {
                check_home(globals, &home)?;
                let account = wallet::Wallet::new(&home).create(&password.choose()?)?;
                show_account(globals, &home, account, "created");
            }
            Verb::List => list(globals, &home)?,
            Verb::Import { file, password } => {
                check_home(globals, &home)?;
                let account = import(&home, &file, &password)?;
                show_account(globals, &home, account, "imported");
            }
            Verb::Export {
                account,
                reveal,
                password,
            } => export(globals, &home, account, reveal, &password)?,
            Verb::Balance { account } => balance(globals, account.address())?,
            Verb::Send(send) => return send.run(globals),
            Verb::Dev => dev(globals),
        }
        Ok(Exit::Done)
    }
}

/// Refuses a home that does not exist: accounts belong to one.
fn check_home(globals: &Globals, home: &Home) -> anyhow::Result<()> {
    if home.config().exists() {
        return Ok(());
    }
    Err(globals.no_home("there is no node").into())
}

fn show_account(globals: &Globals, home: &Home, account: Address, verb: &str) {
    let file = wallet::Wallet::new(home).file(account);
    globals.show(&json!({ "account": account, "file": file }), || account.to_string());
    output::note(&format!(
        "{verb} {}; back up this file and its password, because nobody can restore them",
        file.display()
    ));
}

fn list(globals: &Globals, home: &Home) -> anyhow::Result<()> {
    let wallet = wallet::Wallet::new(home);
    let accounts = wallet.accounts()?;
    let shown: Vec<_> = accounts
        .iter()
        .map(|account| json!({ "account": account, "file": wallet.file(*account) }))
        .collect();
    if accounts.is_empty() {
        output::note("no accounts in this home; `openledger wallet new` creates one");
    }
    if globals.json || !accounts.is_empty() {
        globals.show(&json!({ "accounts": shown }), || {
            accounts.iter().map(Address::to_string).collect::<Vec<_>>().join("\n")
        });
    }
    Ok(())
}

/// Imports a file. A keystore keeps its password; for a bare key a password is chosen.
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

fn export(
    globals: &Globals,
    home: &Home,
    account: Address,
    reveal: bool,
    password: &PasswordFile,
) -> anyhow::Result<()> {
    let wallet = wallet::Wallet::new(home);
    let file = wallet.file(account);
    if !file.exists() {
        return Err(wallet::WalletError::Unknown(account).into());
    }
    if !reveal {
        globals.show(&json!({ "account": account, "file": file }), || {
            file.display().to_string()
        });
        output::note("any Ethereum wallet can open this keystore with its password; --reveal prints the private key");
        return Ok(());
    }
    let signer = wallet.unlock(account, &password.ask(&format!("Password of {account}"))?)?;
    let key = Zeroizing::new(signer.to_bytes().to_string());
    globals.show(&json!({ "account": account, "private_key": *key }), || key.to_string());
    Ok(())
}

fn balance(globals: &Globals, account: Address) -> anyhow::Result<()> {
    let running = globals.running()?;
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
    globals.show(&shown, || open_amount(balance));
    Ok(())
}

fn dev(globals: &Globals) {
    let account = |(number, (account, key)): (usize, &(Address, &str))| json!({ "name": format!("dev{number}"), "account": account, "private_key": format!("0x{key}") });
    let accounts: Vec<_> = DEV_ACCOUNTS.iter().enumerate().map(account).collect();
    globals.show(&json!({ "accounts": accounts }), || {
        let line = |(number, (account, key)): (usize, &(Address, &str))| format!("dev{number}  {account}  0x{key}");
        DEV_ACCOUNTS.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
    });
    output::note("these keys are public: use them on development networks only");
}
