//! Netmasks as the reference accepts them for `altmask` and the `zone_*` settings (config-and-startup.md 11.1):
//! `a.b.c.d/bits`, `a.b.c.d`, `a.b.c.d-e.f.g.h` if it is one block, `a.b.c.d:mask`, `a.b.c.d#hostmask`, `default`.

use std::net::{IpAddr, Ipv4Addr};

/// One block of IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Netmask {
    network: u32,
    bits: u32,
}

impl Netmask {
    /// `None` if the text is none of the accepted forms.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "default" {
            return Some(Self { network: 0, bits: 0 });
        }
        if let Some((address, bits)) = text.split_once('/') {
            return Self::new(address.parse().ok()?, parse_bits(bits)?);
        }
        if let Some((first, last)) = text.split_once('-') {
            return Self::from_range(first.parse().ok()?, last.parse().ok()?);
        }
        if let Some((address, mask)) = text.split_once(':') {
            return Self::new(address.parse().ok()?, mask_bits(u32::from(mask.parse::<Ipv4Addr>().ok()?))?);
        }
        if let Some((address, hostmask)) = text.split_once('#') {
            return Self::new(address.parse().ok()?, mask_bits(!u32::from(hostmask.parse::<Ipv4Addr>().ok()?))?);
        }
        Self::new(text.parse().ok()?, 32)
    }

    /// Is the address in the block? IPv4-mapped IPv6 addresses count as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address.to_canonical() else { return false };
        u32::from(address) & Self::mask(self.bits) == self.network
    }

    /// Its first address.
    pub fn network(&self) -> IpAddr {
        Ipv4Addr::from(self.network).into()
    }

    /// Length of the prefix: the longer, the narrower.
    pub fn prefix_bits(&self) -> u32 {
        self.bits
    }

    fn new(address: Ipv4Addr, bits: u32) -> Option<Self> {
        (bits <= 32).then(|| Self { network: u32::from(address) & Self::mask(bits), bits })
    }

    fn from_range(first: Ipv4Addr, last: Ipv4Addr) -> Option<Self> {
        let (first, last) = (u32::from(first), u32::from(last));
        let bits = mask_bits(!(first ^ last))?;
        (first <= last && first & Self::mask(bits) == first && last | !Self::mask(bits) == last)
            .then_some(Self { network: first, bits })
    }

    fn mask(bits: u32) -> u32 {
        u32::MAX.checked_shl(32 - bits).unwrap_or(0)
    }
}

fn parse_bits(text: &str) -> Option<u32> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// The prefix length of a contiguous mask.
fn mask_bits(mask: u32) -> Option<u32> {
    (mask.leading_ones() + mask.trailing_zeros().min(32 - mask.leading_ones()) == 32).then(|| mask.leading_ones())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_and_refuses_the_rest() {
        for (text, bits) in [
            ("10.0.0.0/8", 8),
            ("1.2.3.4", 32),
            ("10.0.0.0-10.0.0.255", 24),
            ("10.0.0.0:255.255.0.0", 16),
            ("10.0.0.0#0.0.255.255", 16),
            ("default", 0),
        ] {
            assert_eq!(Netmask::parse(text).map(|mask| mask.prefix_bits()), Some(bits), "{text}");
        }
        for text in ["xyz", "", "10/8", "10.0.0.0/33", "10.0.0.1-10.0.0.9", "10.0.0.0:255.0.255.0", "10.0.0.0/"] {
            assert_eq!(Netmask::parse(text), None, "{text}");
        }
    }

    #[test]
    fn tells_which_addresses_are_inside() {
        let mask = Netmask::parse("10.1.0.0/16").expect("a mask");
        assert!(mask.contains("10.1.2.3".parse().expect("an address")));
        assert!(mask.contains("::ffff:10.1.2.3".parse().expect("an address")));
        assert!(!mask.contains("10.2.0.1".parse().expect("an address")));
    }
}
