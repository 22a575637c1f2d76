//! Accounts: secp256k1 keys in encrypted keystores (Web3 Secret Storage, version 3, scrypt), one file each, 0600.
//!
//! A key leaves this file only to sign or when its owner exports it. Development accounts, whose keys everybody knows,
//! are found by name (`dev0` to `dev9`) and never written.

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

/// Why an account cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// It is not in this home.
    #[error("there is no account {0} here; `openledger wallet list` shows those there are")]
    Unknown(Address),
    /// The keystore does not open.
    #[error("the keystore of {0} does not open with this password; try again with the right one")]
    Password(Address),
    /// It opens and holds another key.
    #[error("the keystore {} holds another account than its name says; restore it from a backup", .0.display())]
    Mismatch(PathBuf),
    /// The file cannot be read or written, or others may read it.
    #[error(transparent)]
    File(#[from] SecretError),
    /// The keystore is not one.
    #[error("{} is not an encrypted keystore; restore it from a backup", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: LocalSignerError,
    },
    /// The key to import is not one.
    #[error("the key is not 64 hex digits, or not a key of secp256k1; write it as 0x followed by 64 hex digits")]
    Key,
    /// The folder cannot be read or written.
    #[error("could not use {}", dir.display())]
    Folder {
        /// Which.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The accounts of one home.
#[derive(Clone, Debug)]
pub struct Wallet {
    dir: PathBuf,
}

impl Wallet {
    /// Those in this home.
    pub fn new(home: &Home) -> Self {
        Self { dir: home.accounts() }
    }

    /// All of them, in order.
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

    /// Makes a new account.
    pub fn create(&self, password: &[u8]) -> Result<Address, WalletError> {
        // One in 2^128 draws is no key; the operating system is asked again then.
        let signer = loop {
            let secret = Zeroizing::new(entropy::bytes::<32>());
            if let Ok(signer) = PrivateKeySigner::from_slice(&*secret) {
                break signer;
            }
        };
        self.keep(&signer, password)
    }

    /// Takes in a key written in hexadecimal.
    pub fn import(&self, key: &str, password: &[u8]) -> Result<Address, WalletError> {
        let signer: PrivateKeySigner = key.trim().parse().map_err(|_| WalletError::Key)?;
        self.keep(&signer, password)
    }

    /// Opens an account to sign with it.
    pub fn unlock(&self, account: Address, password: &[u8]) -> Result<PrivateKeySigner, WalletError> {
        let file = self.file(account);
        // Read first for the check that nobody else may.
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

    /// Takes in a keystore of this or another program.
    pub fn import_keystore(&self, file: &Path, password: &[u8]) -> Result<Address, WalletError> {
        let signer = open(file, password, Address::ZERO)?;
        self.keep(&signer, password)
    }

    /// The file of an account.
    pub fn file(&self, account: Address) -> PathBuf {
        self.dir.join(format!("{account:#x}.json"))
    }

    fn keep(&self, signer: &PrivateKeySigner, password: &[u8]) -> Result<Address, WalletError> {
        let folder = |source| self.folder(source);
        let private = |dir: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        private(&self.dir).map_err(folder)?;
        // The library writes the file itself, with whatever mode; so it writes where nobody else can look.
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

/// The development account of that name, `dev0` to `dev9`.
pub fn development(name: &str) -> Option<PrivateKeySigner> {
    let number: usize = name.strip_prefix("dev")?.parse().ok()?;
    let (_, key) = DEV_ACCOUNTS.get(number)?;
    Some(key.parse().expect("the keys of the development accounts are tested"))
}

fn open(file: &Path, password: &[u8], account: Address) -> Result<PrivateKeySigner, WalletError> {
    PrivateKeySigner::decrypt_keystore(file, password).map_err(|source| {
        // The library has no public name for a wrong password but this.
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

/// Other programs find the account of a keystore in this field.
fn with_address(text: &[u8], address: Address) -> Vec<u8> {
    let mut keystore: serde_json::Value = serde_json::from_slice(text).expect("it was just written as JSON");
    keystore["address"] = format!("{address:x}").into();
    serde_json::to_vec_pretty(&keystore).expect("it was JSON")
}

/// The randomness of the operating system, in the shape the keystore asks for.
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
    fn a_known_key_gives_its_known_address_and_is_never_replaced() {
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
    fn a_keystore_that_moved_homes_is_the_same_account() {
        let ((_one, from), (_other, to)) = (wallet(), wallet());
        let account = from.create(b"p").unwrap();
        assert_eq!(to.import_keystore(&from.file(account), b"p").unwrap(), account);
        assert_eq!(to.accounts().unwrap(), [account]);
    }

    #[test]
    fn an_exposed_or_foreign_file_is_refused() {
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
