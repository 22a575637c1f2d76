//! Detection of image and audio types by their first bytes.

/// Number of bytes that distinguish all types.
pub(super) const SNIFF_BYTES: usize = 16;

/// Returns the media type of a file by its first bytes.
pub(super) fn sniff(head: &[u8]) -> Option<&'static str> {
    let at = |from: usize, wanted: &[u8]| head.get(from..from + wanted.len()) == Some(wanted);
    Some(match () {
        () if at(0, b"\x89PNG\r\n\x1a\n") => "image/png",
        () if at(0, b"\xff\xd8\xff") => "image/jpeg",
        () if at(0, b"GIF87a") || at(0, b"GIF89a") => "image/gif",
        () if at(0, b"RIFF") && at(8, b"WEBP") => "image/webp",
        () if at(0, b"II*\0") || at(0, b"MM\0*") => "image/tiff",
        () if at(4, b"ftypavif") => "image/avif",
        () if at(4, b"ftyphei") || at(4, b"ftypmif1") => "image/heic",
        () if at(0, b"RIFF") && at(8, b"WAVE") => "audio/wav",
        () if at(0, b"fLaC") => "audio/flac",
        () if at(0, b"OggS") => "audio/ogg",
        () if at(0, b"ID3") => "audio/mpeg",
        () if at(4, b"ftypM4A") => "audio/mp4",
        () if at(0, b"BM") => "image/bmp",
        () if mpeg_frame(head) => "audio/mpeg",
        () => return None,
    })
}

/// Returns true at the start of an MPEG audio frame: eleven bits set, then a valid version, layer, bit rate and
/// sampling rate.
fn mpeg_frame(head: &[u8]) -> bool {
    let [0xff, second, third, _, ..] = head else {
        return false;
    };
    let version = second & 0xe0 == 0xe0 && second & 0x18 != 0x08 && second & 0x06 != 0;
    version && third & 0xf0 != 0xf0 && third & 0x0c != 0x0c
}

/// Returns the class of files with this extension: `image`, `audio` or neither.
pub(super) fn class(extension: &str) -> Option<&'static str> {
    match extension {
        "png" | "jpg" | "jpeg" | "gif" | "webp" | "tif" | "tiff" | "bmp" | "avif" | "heic" => Some("image"),
        "wav" | "flac" | "ogg" | "oga" | "opus" | "mp3" | "m4a" => Some("audio"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_is_detected_by_the_first_bytes() {
        assert_eq!(sniff(b"\x89PNG\r\n\x1a\n0000"), Some("image/png"));
        assert_eq!(sniff(b"RIFF\0\0\0\0WAVEfmt "), Some("audio/wav"));
        assert_eq!(sniff(b"RIFF\0\0\0\0WEBPVP8 "), Some("image/webp"));
        assert_eq!(sniff(&[0xff, 0xfb, 0x90, 0]), Some("audio/mpeg"));
        for other in [&b""[..], b"hello", b"RIFF", b"\xff\xff\xff\xff", b"%PDF-1.7"] {
            assert_eq!(sniff(other), None, "{other:?}");
        }
    }
}
