// SPDX-License-Identifier: MIT OR Apache-2.0
//! SQLite's write-ahead log: which of its frames are committed, found without opening the database.
//!
//! The layout is the public one of SQLite's file format documentation ("The Write-Ahead Log"): a header of 32 bytes,
//! then frames of 24 bytes of header and one page each. A frame counts if its salts are the header's and the
//! running checksum over everything before it fits; what follows the last frame that ends a transaction does not.

/// Size of the header of the log in bytes.
pub const HEADER_SIZE: usize = 32;
/// Size of the header of one frame in bytes.
pub const FRAME_HEADER_SIZE: usize = 24;

/// Why a log cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WalError {
    /// Fewer bytes than a header.
    #[error("it is shorter than its header of {HEADER_SIZE} bytes")]
    Short,
    /// The first four bytes are not those of a write-ahead log.
    #[error("it does not start like a write-ahead log")]
    Magic,
    /// A format version that does not exist.
    #[error("its format version is unknown")]
    Version,
    /// The page size is no power of two from 512 to 65536.
    #[error("its page size is impossible")]
    PageSize,
    /// The checksum of the header does not fit.
    #[error("the checksum of its header is wrong")]
    Checksum,
}

/// The parsed header of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Checksums are computed over big-endian words.
    pub big_endian: bool,
    /// Size of a page in bytes.
    pub page_size: usize,
    /// Changed each time when the log starts anew; frames carry the same value.
    pub salt: [u8; 8],
    checksum: (u32, u32),
}

impl Header {
    /// Parses and verifies the header at the start of `log`.
    pub fn parse(log: &[u8]) -> Result<Self, WalError> {
        let header = log.get(..HEADER_SIZE).ok_or(WalError::Short)?;
        let big_endian = match word(header, 0) {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return Err(WalError::Magic),
        };
        if word(header, 4) != 3_007_000 {
            return Err(WalError::Version);
        }
        let page_size = word(header, 8) as usize;
        if !(512..=65536).contains(&page_size) || !page_size.is_power_of_two() {
            return Err(WalError::PageSize);
        }
        let checksum = add(big_endian, (0, 0), &header[..24]);
        if checksum != (word(header, 24), word(header, 28)) {
            return Err(WalError::Checksum);
        }
        let mut salt = [0; 8];
        salt.copy_from_slice(&header[16..24]);
        Ok(Self { big_endian, page_size, salt, checksum })
    }
}

/// One frame: a page as a transaction left it.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Number of the page, from 1.
    pub page_number: u32,
    /// Size of the database in pages if this frame ends a transaction, else 0.
    pub pages_after_commit: u32,
    /// Content of the page.
    pub page: &'a [u8],
}

/// The committed frames of a log.
#[derive(Debug, Clone)]
pub struct Committed<'a> {
    /// All frames up to the last that ends a transaction, in the order in which they were written.
    pub frames: Vec<Frame<'a>>,
    /// Number of transactions.
    pub commits: usize,
    /// Valid frames after them, of a transaction that was not finished.
    pub uncommitted: usize,
    /// Bytes behind the last valid frame: leftovers of an earlier use of the log, or a damaged rest.
    pub rest: usize,
}

/// The committed frames of `log`, as SQLite would find them when it recovers the log.
pub fn committed<'a>(log: &'a [u8], header: &Header) -> Committed<'a> {
    let mut found = Committed { frames: Vec::new(), commits: 0, uncommitted: 0, rest: 0 };
    let mut checksum = header.checksum;
    let mut rest = log.get(HEADER_SIZE..).unwrap_or_default();
    let mut committed = 0;
    while rest.len() >= FRAME_HEADER_SIZE + header.page_size {
        let (frame, after) = rest.split_at(FRAME_HEADER_SIZE + header.page_size);
        let (head, page) = frame.split_at(FRAME_HEADER_SIZE);
        let page_number = word(head, 0);
        if page_number == 0 || head[8..16] != header.salt {
            break;
        }
        checksum = add(header.big_endian, add(header.big_endian, checksum, &head[..8]), page);
        if checksum != (word(head, 16), word(head, 20)) {
            break;
        }
        let pages_after_commit = word(head, 4);
        found.frames.push(Frame { page_number, pages_after_commit, page });
        if pages_after_commit != 0 {
            found.commits += 1;
            committed = found.frames.len();
        }
        rest = after;
    }
    found.uncommitted = found.frames.len() - committed;
    found.frames.truncate(committed);
    found.rest = rest.len();
    found
}

/// A frame of a damaged log that is as it was written.
#[derive(Debug, Clone, Copy)]
pub struct Survivor<'a> {
    /// Its place in the log, from 0.
    pub index: usize,
    /// The frame.
    pub frame: Frame<'a>,
}

/// The frames of a log of which any part may be damaged, its header included.
#[derive(Debug, Clone, Default)]
pub struct Survivors<'a> {
    /// Frames whose checksum fits, in the order in which they were written.
    pub frames: Vec<Survivor<'a>>,
    /// Places of frames whose checksum does not fit although they belong to this use of the log.
    pub damaged: Vec<usize>,
}

/// Finds every frame that is intact by itself, also behind one that is not.
///
/// The checksum of a frame continues that of the frame before, which stands in that frame's header: so each can be verified
/// alone, as long as the few bytes of the checksum before it are intact. What SQLite would not use, because
/// the chain is broken before it, is found nevertheless. Without a usable header, `page_size` is taken, and the first frame that fits tells
/// the salt.
pub fn survivors(log: &[u8], page_size: usize) -> Survivors<'_> {
    let header = Header::parse(log).ok();
    let page_size = header.map_or(page_size, |header| header.page_size);
    let mut found = Survivors::default();
    let mut salt = header.map(|header| header.salt);
    // the checksum that stands in the header, whether the rest of it is intact or not
    let mut before = (word(log, 24), word(log, 28));
    let frames = log.get(HEADER_SIZE..).unwrap_or_default().chunks_exact(FRAME_HEADER_SIZE + page_size);
    for (index, bytes) in frames.enumerate() {
        let (head, page) = bytes.split_at(FRAME_HEADER_SIZE);
        let stored = (word(head, 16), word(head, 20));
        let fits = |big_endian| add(big_endian, add(big_endian, before, &head[..8]), page) == stored;
        let intact = match header {
            Some(header) => fits(header.big_endian),
            None => fits(false) || fits(true),
        };
        before = stored;
        let same_use = salt.is_none_or(|salt| head[8..16] == salt);
        let (page_number, pages_after_commit) = (word(head, 0), word(head, 4));
        if intact && same_use && page_number != 0 {
            if salt.is_none() {
                let mut own = [0; 8];
                own.copy_from_slice(&head[8..16]);
                salt = Some(own);
            }
            let frame = Frame { page_number, pages_after_commit, page };
            found.frames.push(Survivor { index, frame });
        } else if same_use || !intact {
            found.damaged.push(index);
        }
    }
    // behind the last frame that fits are those of earlier uses of the log
    let last = found.frames.last().map(|survivor| survivor.index);
    found.damaged.retain(|index| last.is_some_and(|last| *index < last));
    found
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

/// Continues the running checksum over `bytes` (a multiple of eight).
fn add(big_endian: bool, (mut a, mut b): (u32, u32), bytes: &[u8]) -> (u32, u32) {
    for pair in bytes.chunks_exact(8) {
        let (first, second) = pair.split_at(4);
        a = a.wrapping_add(read(big_endian, first)).wrapping_add(b);
        b = b.wrapping_add(read(big_endian, second)).wrapping_add(a);
    }
    (a, b)
}

fn read(big_endian: bool, bytes: &[u8]) -> u32 {
    let four = [bytes[0], bytes[1], bytes[2], bytes[3]];
    if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_log() {
        assert_eq!(Header::parse(b""), Err(WalError::Short));
        assert_eq!(Header::parse(&[0; 32]), Err(WalError::Magic));
        let mut header = [0_u8; 32];
        header[..4].copy_from_slice(&0x377f_0682_u32.to_be_bytes());
        assert_eq!(Header::parse(&header), Err(WalError::Version));
        header[4..8].copy_from_slice(&3_007_000_u32.to_be_bytes());
        assert_eq!(Header::parse(&header), Err(WalError::PageSize));
        header[8..12].copy_from_slice(&4096_u32.to_be_bytes());
        assert_eq!(Header::parse(&header), Err(WalError::Checksum));
    }
}
