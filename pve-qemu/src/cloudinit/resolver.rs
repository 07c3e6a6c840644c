// SPDX-License-Identifier: MIT OR Apache-2.0
//! The name servers and the search domain of the host, which guests get that are given none of their own.

use bstr::{BStr, BString, ByteSlice};

/// What the host's `/etc/resolv.conf` says, as far as Proxmox VE reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    /// The search domain. Read from a file it is one word; by hand it may be several, separated by white space.
    pub search: Option<BString>,
    /// The first three name servers, in the order of the file.
    pub servers: [Option<BString>; 3],
}

impl Resolver {
    /// Reads the text of a `resolv.conf`.
    ///
    /// A line that starts with `search` or `domain` sets the search domain to the first word behind it, the last
    /// such line wins, further words are ignored. The first three lines `nameserver ADDRESS` count, also indented
    /// ones (spec: cloud-init, "DNS").
    ///
    /// ```
    /// use pve_qemu::cloudinit::Resolver;
    ///
    /// let host = Resolver::parse(b"search lan.example more.example\nnameserver 192.0.2.53\n");
    /// assert_eq!(host.search, Some("lan.example".into()));
    /// assert_eq!(host.servers().collect::<Vec<_>>(), ["192.0.2.53"]);
    /// ```
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let mut resolver = Resolver::default();
        let mut free = resolver.servers.iter_mut();
        for line in text.lines() {
            let domain = line.strip_prefix(b"search").or_else(|| line.strip_prefix(b"domain"));
            if let Some(word) = domain.and_then(argument) {
                resolver.search = Some(word.into());
            }
            let server = line.trim_ascii_start().strip_prefix(b"nameserver");
            if let Some(address) = server.and_then(argument)
                && let Some(slot) = free.next()
            {
                *slot = Some(address.into());
            }
        }
        resolver
    }

    /// The name servers that are there and not empty.
    pub fn servers(&self) -> impl Iterator<Item = &BStr> {
        self.servers.iter().flatten().map(|server| server.as_bstr()).filter(|server| !server.is_empty())
    }
}

/// The first word behind a keyword, if white space separates them.
fn argument(rest: &[u8]) -> Option<&[u8]> {
    rest.first().filter(|byte| byte.is_ascii_whitespace())?;
    rest.fields_with(|character| character.is_ascii_whitespace()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_search_line_and_first_three_servers_count() {
        let text = b"domain a.example\n search indented.example\nsearch b.example c.example\nsearchx d.example\nsearch\n\
            nameserver 192.0.2.1\n  nameserver\t192.0.2.2 # comment\nnameserver\n#nameserver 192.0.2.9\n\
            nameserver 2001:db8::53\nnameserver 192.0.2.4\n";
        let host = Resolver::parse(text);
        assert_eq!(host.search, Some("b.example".into()));
        assert_eq!(host.servers().collect::<Vec<_>>(), ["192.0.2.1", "192.0.2.2", "2001:db8::53"]);
        assert_eq!(Resolver::parse(b""), Resolver::default());
    }
}
