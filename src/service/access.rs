//! Who may come in, by address: lists of blocks of IPv4 and IPv6 addresses. Pure.
//!
//! An address proves little beyond a network that one trusts; what it does prove, and what not, is in `docs/SECURITY.md`.

use std::net::{IpAddr, SocketAddr};

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressBlock {
    first: IpAddr,
    bits: u32,
}

impl AddressBlock {
    /// `10.0.0.0/8`, `fd00::/8`, or one address.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("must be an address or a block such as \"10.0.0.0/8\" or \"fd00::/8\", not {text:?}");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => bits_max,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= bits_max).ok_or_else(wrong)?,
        };
        if masked(address, bits) != as_number(address) {
            return Err(format!("{text:?} has bits beyond its first {bits}: is another block meant?"));
        }
        Ok(Self { first: address, bits })
    }

    /// Is the address one of them? IPv4 within IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && masked(address, self.bits) == as_number(self.first)
    }
}

/// The address as a number of 128 bits, those of IPv4 in front.
fn as_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn masked(address: IpAddr, bits: u32) -> u128 {
    as_number(address) & u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

/// Whom something is for; an empty list is for everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressList(Vec<AddressBlock>);

impl AddressList {
    /// # Errors
    /// A sentence about the first entry that is none.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        texts.iter().map(|text| AddressBlock::parse(text)).collect::<Result<_, _>>().map(Self)
    }

    pub fn is_for_all(&self) -> bool {
        self.0.is_empty()
    }

    pub fn allows(&self, address: IpAddr) -> bool {
        self.is_for_all() || self.0.iter().any(|block| block.contains(address))
    }
}

/// Can only this machine reach it?
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> AddressList {
        AddressList::parse(&texts.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("a list")
    }

    #[test]
    fn blocks_hold_what_begins_like_them() {
        let list = list(&["10.1.0.0/16", "192.168.7.7", "fd00::/8", "::1"]);
        for inside in ["10.1.255.1", "192.168.7.7", "fdab::1", "::1", "::ffff:10.1.2.3"] {
            assert!(list.allows(inside.parse().expect(inside)), "{inside}");
        }
        for outside in ["10.2.0.1", "192.168.7.8", "fe80::1", "::2", "::ffff:10.2.2.3"] {
            assert!(!list.allows(outside.parse().expect(outside)), "{outside}");
        }
        assert!(AddressList::default().allows("8.8.8.8".parse().expect("an address")));
        let all = AddressBlock::parse("0.0.0.0/0").expect("a block");
        assert!(all.contains("8.8.8.8".parse().expect("an address")));
        assert!(!all.contains("2001:db8::1".parse().expect("an address")), "IPv6 is not meant by a block of IPv4");
    }

    #[test]
    fn what_is_no_block_is_named() {
        for wrong in ["", "10.0.0.0/33", "10.0.0", "host", "10.0.0.1/8", "fd00::1/8", "10.0.0.0/x", "::/129"] {
            assert!(AddressBlock::parse(wrong).is_err(), "{wrong}");
        }
    }
}
