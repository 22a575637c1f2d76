//! The sender or the receiver of a payment: an address, or the name of a development account.

use std::str::FromStr;

use alloy_primitives::Address;
use alloy_signer_local::PrivateKeySigner;

use crate::{
    cli::{
        Globals,
        exit::{Exit, ended},
        wallet::password::PasswordFile,
    },
    wallet::{self, Wallet},
};
use chain::genesis::DEV_CHAIN_ID;

/// An account on the chain, as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    Address(Address),
    /// A development account: its name, `dev0` to `dev9`, and its address.
    Development(String, Address),
}

impl FromStr for Party {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(signer) = wallet::development(text) {
            return Ok(Self::Development(text.to_owned(), signer.address()));
        }
        let wrong = || format!("`{text}` is not an account; write 0x and 40 hex digits, or dev0 to dev9");
        if !text.starts_with("0x") {
            return Err(wrong());
        }
        let address: Address = text.parse().map_err(|_| wrong())?;
        // Mixed case is a checksum (EIP-55); a wrong one means a mistyped address.
        let mixed = text[2..].contains(char::is_lowercase) && text[2..].contains(char::is_uppercase);
        if mixed && Address::parse_checksummed(text, None).is_err() {
            return Err(format!(
                "the checksum of `{text}` is wrong: a digit is mistyped; copy the address again"
            ));
        }
        Ok(Self::Address(address))
    }
}

impl Party {
    pub(crate) fn address(&self) -> Address {
        match self {
            Self::Address(address) | Self::Development(_, address) => *address,
        }
    }

    /// Unlocks the key of the account. A development account signs only on a development chain.
    pub(crate) fn signer(
        &self,
        globals: &Globals,
        chain_id: u64,
        password: &PasswordFile,
    ) -> anyhow::Result<PrivateKeySigner> {
        match self {
            Self::Address(address) => {
                let wallet = Wallet::new(&globals.home());
                if !wallet.file(*address).exists() {
                    return Err(wallet::WalletError::Unknown(*address).into());
                }
                Ok(wallet.unlock(*address, &password.ask(&format!("Password of {address}"))?)?)
            }
            Self::Development(name, _) if chain_id == DEV_CHAIN_ID => {
                Ok(wallet::development(name).expect("the name was looked up when it was read"))
            }
            Self::Development(name, _) => {
                let text = format!(
                    "--from {name} is for development networks (chain id {DEV_CHAIN_ID}) and this is chain {chain_id}. \
                     Its key is public; use an account of this home instead, which `openledger wallet new` creates"
                );
                Err(ended(Exit::Denied, text).into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::genesis::DEV_ACCOUNTS;

    #[test]
    fn an_account_is_an_address_or_the_name_of_a_development_account() {
        let (address, _) = DEV_ACCOUNTS[2];
        assert_eq!("dev2".parse(), Ok(Party::Development("dev2".to_owned(), address)));
        assert_eq!(address.to_string().parse(), Ok(Party::Address(address)));
        assert_eq!(format!("{address:#x}").parse(), Ok(Party::Address(address)));
        for text in ["", "dev10", "0x12", "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "alice"] {
            assert!(text.parse::<Party>().unwrap_err().contains("dev0 to dev9"), "{text}");
        }
    }

    #[test]
    fn a_mistyped_digit_is_noticed() {
        let wrong = DEV_ACCOUNTS[0].0.to_string().replace('3', "4");
        assert!(wrong.parse::<Party>().unwrap_err().contains("checksum"));
    }
}
