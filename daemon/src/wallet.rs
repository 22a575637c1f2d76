//! Accounts: secp256k1 keys in encrypted keystores (Web3 Secret Storage version 3, scrypt), one file each, mode 0600.
//!
//! A private key is decrypted only to sign, or to be exported on request. The development accounts have public keys; they
//! are looked up by name (`dev0` to `dev9`) and never written to disk.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use alloy_primitives::Address;
use alloy_signer::k256::elliptic_curve::rand_core::{CryptoRng, Error as RandomError, RngCore};
use alloy_signer_local::{LocalSignerError, PrivateKeySigner};
use storage::secret::{self, SecretError};
use zeroize::Zeroizing;

use base::{entropy, home::Home};
use chain::genesis::DEV_ACCOUNTS;

/// Reason that an account cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    #[error("there is no account {0} in this home; `openledger wallet list` shows its accounts")]
    Unknown(Address),
    #[error("wrong password for the keystore of {0}; try again")]
    Password(Address),
    #[error("the keystore {} holds a key of another account than its file name says; restore it from a backup", .0.display())]
    Mismatch(PathBuf),
    #[error(transparent)]
    File(#[from] SecretError),
    #[error("{} is not an encrypted keystore; restore it from a backup", file.display())]
    Content { file: PathBuf, source: LocalSignerError },
    #[error("the key is not 64 hex digits, or not a key of secp256k1; write it as 0x followed by 64 hex digits")]
    Key,
    #[error("could not use {}", dir.display())]
    Folder { dir: PathBuf, source: io::Error },
}

/// The keystores in one home.
#[derive(Clone, Debug)]
pub struct Wallet {
    dir: PathBuf,
}

impl Wallet {
    /// Opens the wallet of a home. Nothing is read yet.
    pub fn new(home: &Home) -> Self {
        Self { dir: home.accounts() }
    }

    /// Lists the accounts, sorted by address.
    pub fn accounts(&self) -> Result<Vec<Address>, WalletError> {
        let folder = |source| self.folder(source);
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(folder)?,
        };
        let mut accounts = Vec::new();
        for entry in entries {
            let name = entry.map_err(folder)?.file_name();
            let address: Option<Address> = name
                .to_str()
                .and_then(|name| name.strip_suffix(".json"))
                .and_then(|name| name.parse().ok());
            accounts.extend(address);
        }
        accounts.sort();
        Ok(accounts)
    }

    /// Creates an account with a random key.
    pub fn create(&self, password: &[u8]) -> Result<Address, WalletError> {
        // About one in 2^128 random strings is not a valid key: draw again.
        let signer = loop {
            let secret = Zeroizing::new(entropy::bytes::<32>());
            if let Ok(signer) = PrivateKeySigner::from_slice(&*secret) {
                break signer;
            }
        };
        self.keep(&signer, password)
    }

    /// Imports a private key written in hexadecimal.
    pub fn import(&self, key: &str, password: &[u8]) -> Result<Address, WalletError> {
        let signer: PrivateKeySigner = key.trim().parse().map_err(|_| WalletError::Key)?;
        self.keep(&signer, password)
    }

    /// Decrypts the key of an account, to sign with it.
    pub fn unlock(&self, account: Address, password: &[u8]) -> Result<PrivateKeySigner, WalletError> {
        let file = self.file(account);
        // `secret::read` refuses a file that others may read.
        match secret::read(&file) {
            Err(SecretError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Err(WalletError::Unknown(account));
            }
            read => drop(read?),
        }
        let signer = open(&file, password, account)?;
        if signer.address() == account {
            Ok(signer)
        } else {
            Err(WalletError::Mismatch(file))
        }
    }

    /// Imports a keystore that this or another Ethereum wallet wrote. The password stays the same.
    pub fn import_keystore(&self, file: &Path, password: &[u8]) -> Result<Address, WalletError> {
        let signer = open(file, password, Address::ZERO)?;
        self.keep(&signer, password)
    }

    /// Path of the keystore of an account.
    pub fn file(&self, account: Address) -> PathBuf {
        self.dir.join(format!("{account:#x}.json"))
    }

    fn keep(&self, signer: &PrivateKeySigner, password: &[u8]) -> Result<Address, WalletError> {
        let folder = |source| self.folder(source);
        let private = |dir: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        private(&self.dir).map_err(folder)?;
        // The library writes the file itself, with the default mode: let it write into a folder of mode 0700.
        let aside = self.dir.join(format!(".{}.new", std::process::id()));
        private(&aside).map_err(folder)?;
        let secret = Zeroizing::new(signer.to_bytes().0);
        let made = PrivateKeySigner::encrypt_keystore(&aside, &mut Entropy, secret.as_slice(), password, Some("key"));
        let text = made.map(|_| fs::read(aside.join("key")));
        fs::remove_dir_all(&aside).map_err(folder)?;
        let file = self.file(signer.address());
        let text = text.map_err(|source| WalletError::Content {
            file: file.clone(),
            source,
        })?;
        secret::write(&file, &with_address(&text.map_err(folder)?, signer.address()))?;
        Ok(signer.address())
    }

    fn folder(&self, source: io::Error) -> WalletError {
        WalletError::Folder {
            dir: self.dir.clone(),
            source,
        }
    }
}

/// Returns the key of a development account by its name, `dev0` to `dev9`.
pub fn development(name: &str) -> Option<PrivateKeySigner> {
    let number: usize = name.strip_prefix("dev")?.parse().ok()?;
    let (_, key) = DEV_ACCOUNTS.get(number)?;
    Some(key.parse().expect("the keys of the development accounts are tested"))
}

fn open(file: &Path, password: &[u8], account: Address) -> Result<PrivateKeySigner, WalletError> {
    PrivateKeySigner::decrypt_keystore(file, password).map_err(|source| {
        // The library has no public error variant for a wrong password.
        if source.to_string().contains("Mac Mismatch") {
            WalletError::Password(account)
        } else {
            WalletError::Content {
                file: file.to_owned(),
                source,
            }
        }
    })
}

/// Adds the `address` field, by which other wallets recognise a keystore.
fn with_address(text: &[u8], address: Address) -> Vec<u8> {
    let mut keystore: serde_json::Value = serde_json::from_slice(text).expect("it was just written as JSON");
    keystore["address"] = format!("{address:x}").into();
    serde_json::to_vec_pretty(&keystore).expect("it was JSON")
}

/// The operating system's random numbers, as the `RngCore` that the keystore library wants.
struct Entropy;

impl RngCore for Entropy {
    fn next_u32(&mut self) -> u32 {
        u32::from_ne_bytes(entropy::bytes())
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_ne_bytes(entropy::bytes())
    }

    fn fill_bytes(&mut self, to: &mut [u8]) {
        for part in to.chunks_mut(32) {
            part.copy_from_slice(&entropy::bytes::<32>()[..part.len()]);
        }
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), RandomError> {
        self.fill_bytes(to);
        Ok(())
    }
}

impl CryptoRng for Entropy {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn wallet() -> (tempfile::TempDir, Wallet) {
        let dir = tempfile::tempdir().unwrap();
        let wallet = Wallet::new(&Home::new(dir.path()));
        (dir, wallet)
    }

    #[test]
    fn an_account_opens_with_its_password_and_with_no_other() {
        let (_dir, wallet) = wallet();
        let account = wallet.create(b"right").unwrap();
        assert_eq!(wallet.accounts().unwrap(), [account]);
        assert_eq!(wallet.unlock(account, b"right").unwrap().address(), account);
        assert!(matches!(
            wallet.unlock(account, b"wrong"),
            Err(WalletError::Password(_))
        ));
        let mode = fs::metadata(wallet.file(account)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }

    #[test]
    fn an_imported_key_has_its_known_address_and_is_never_overwritten() {
        let (_dir, wallet) = wallet();
        let (address, key) = DEV_ACCOUNTS[3];
        assert_eq!(wallet.import(key, b"x").unwrap(), address);
        assert!(matches!(
            wallet.import(key, b"y"),
            Err(WalletError::File(SecretError::Exists { .. }))
        ));
        assert_eq!(wallet.unlock(address, b"x").unwrap().address(), address);
        assert!(matches!(wallet.import("0x12", b"x"), Err(WalletError::Key)));
        let text = fs::read_to_string(wallet.file(address)).unwrap();
        assert!(text.contains("scrypt") && text.contains(&format!("\"{address:x}\"")) && !text.contains(key));
    }

    #[test]
    fn a_keystore_imported_into_another_home_is_the_same_account() {
        let ((_one, from), (_other, to)) = (wallet(), wallet());
        let account = from.create(b"p").unwrap();
        assert_eq!(to.import_keystore(&from.file(account), b"p").unwrap(), account);
        assert_eq!(to.accounts().unwrap(), [account]);
    }

    #[test]
    fn a_keystore_that_others_may_read_or_of_another_account_is_refused() {
        let (_dir, wallet) = wallet();
        let account = wallet.create(b"p").unwrap();
        assert!(matches!(
            wallet.unlock(Address::ZERO, b"p"),
            Err(WalletError::Unknown(_))
        ));
        fs::copy(wallet.file(account), wallet.file(Address::ZERO)).unwrap();
        assert!(matches!(
            wallet.unlock(Address::ZERO, b"p"),
            Err(WalletError::Mismatch(_))
        ));
        fs::set_permissions(wallet.file(account), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            wallet.unlock(account, b"p"),
            Err(WalletError::File(SecretError::Exposed { .. }))
        ));
    }

    #[test]
    fn development_accounts_have_names() {
        assert_eq!(development("dev9").unwrap().address(), DEV_ACCOUNTS[9].0);
        for name in ["dev10", "dev", "0", "dev-1"] {
            assert!(development(name).is_none(), "{name}");
        }
    }
}
