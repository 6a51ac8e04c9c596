//! What a report returns of the message: all of it when it is small, otherwise its header.
//!
//! A filter that adds a secret to a message on its way must not find that secret in a report.

use alloc::vec::Vec;

use ringpost_core::envelope::Ret;

use super::Report;

/// The third part of a report (RFC 6522 3).
pub(super) struct Original {
    /// `message/rfc822` or `text/rfc822-headers`, or what RFC 6533 4 has instead.
    pub(super) media_type: &'static str,
    /// Whole lines, none longer than a line may be.
    pub(super) content: Vec<u8>,
}

impl Original {
    /// Chooses by RET= and size.
    pub(super) fn returned(report: &Report<'_>) -> Self {
        let mut content = Vec::new();
        let is_whole = copy_header(report, &mut content);
        let is_utf8 = !content.is_ascii() && core::str::from_utf8(&content).is_ok();
        //= RFC 3461 4.3
        let wants_all = report.envelope.ret != Some(Ret::Headers);
        if let Some(body) = report.body.filter(|_| is_whole && wants_all) {
            let octets: usize = body.iter().map(|chunk| chunk.len()).sum();
            if report.header.len() + octets < report.max_copy {
                let body: Vec<u8> = body.iter().flat_map(|chunk| chunk.iter().copied()).collect();
                if lines(&body).all(|line| line.len() <= LINE_OCTETS_MAX) {
                    copy_body(&body, &mut content);
                    let media_type = if is_utf8 { "message/global" } else { "message/rfc822" };
                    return Self { media_type, content };
                }
            }
        }
        let media_type = if is_utf8 { "message/global-headers" } else { "text/rfc822-headers" };
        Self { media_type, content }
    }
}

/// Copies fields until the copy is as long as it may be; false if some did not fit.
fn copy_header(report: &Report<'_>, out: &mut Vec<u8>) -> bool {
    let is_omitted = |line: &[u8]| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii_end();
        report.omitted_fields.iter().any(|omitted| name.eq_ignore_ascii_case(omitted.as_bytes()))
    };
    let (mut is_skipping, mut field_start) = (false, 0);
    for line in lines(report.header) {
        // An empty line would end the header for a reader, and begin a forged body.
        if line.is_empty() {
            continue;
        }
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            is_skipping = is_omitted(line);
            field_start = out.len();
        }
        if is_skipping {
            continue;
        }
        for (index, piece) in line.chunks(LINE_OCTETS_MAX - 1).enumerate() {
            if index > 0 {
                out.push(b' ');
            }
            push_line(piece, out);
        }
        if out.len() > report.max_copy {
            out.truncate(field_start);
            return false;
        }
    }
    true
}

fn copy_body(body: &[u8], out: &mut Vec<u8>) {
    if !body.starts_with(b"\r\n") && !body.starts_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    for line in lines(body) {
        push_line(line, out);
    }
}

/// The lines of `text` without their endings, whether CRLF or bare LF.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let is_empty = text.is_empty();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(move |_| !is_empty)
}

//= RFC 5321 2.3.8
fn push_line(line: &[u8], out: &mut Vec<u8>) {
    out.extend(line.iter().map(|byte| if matches!(byte, b'\r' | 0) { b' ' } else { *byte }));
    out.extend_from_slice(b"\r\n");
}

/// RFC 5322 2.1.1: 998 without the line ending.
const LINE_OCTETS_MAX: usize = 998;
