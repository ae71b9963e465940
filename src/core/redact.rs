//! Takes the values out of SQL text, so that the audit trail tells what was done and to what, but not to whom.
//!
//! Every constant becomes `?`, comments go (they can hold anything), white space shrinks to single blanks. The
//! lexical rules are those of PostgreSQL's scan.l. Where they leave a doubt (something unterminated, or versions
//! that disagree), all the rest becomes `?`: text is lost rather than a value shown. Names are kept, quoted ones
//! too: a value written as a name is not a constant and is not hidden here.

/// The statement without its constants. `backslash_escapes`: whether `\` escapes in plain `'…'`, which is
/// PostgreSQL's `standard_conforming_strings = off`.
pub fn redact(sql: &str, backslash_escapes: bool) -> String {
    redact_limited(sql, backslash_escapes, usize::MAX)
}

/// As [`redact`], in at most `limit` bytes: a longer result is cut between two characters and ends in `…`
/// where that fits.
pub fn redact_limited(sql: &str, backslash_escapes: bool, limit: usize) -> String {
    let mut redacted = Lexer { sql, at: 0, backslash_escapes }.run(limit);
    if redacted.len() > limit {
        let ellipsis = if limit >= '…'.len_utf8() { "…" } else { "" };
        redacted.truncate(redacted.floor_char_boundary(limit - ellipsis.len()));
        redacted.push_str(ellipsis);
    }
    redacted
}

/// What the lexer found at its position; it stands behind it then.
enum Token {
    /// White space and comments.
    Gap,
    Constant,
    /// To be kept as it is.
    Kept,
    /// From here on nothing is certain.
    Doubt,
}

struct Lexer<'a> {
    sql: &'a str,
    at: usize,
    backslash_escapes: bool,
}

impl Lexer<'_> {
    fn run(mut self, limit: usize) -> String {
        let mut out = String::with_capacity(self.sql.len().min(limit));
        let mut gap = false;
        while self.at < self.sql.len() && out.len() <= limit {
            let start = self.at;
            let token = self.token();
            if matches!(token, Token::Gap) {
                gap = true;
                continue;
            }
            if gap && !out.is_empty() {
                out.push(' ');
            }
            gap = false;
            match token {
                Token::Kept => out.push_str(&self.sql[start..self.at]),
                _ => out.push('?'),
            }
            if matches!(token, Token::Doubt) {
                break;
            }
        }
        out
    }

    /// The byte `ahead` of the position; 0, which SQL text cannot hold, at the end.
    fn peek(&self, ahead: usize) -> u8 {
        self.sql.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &[u8] {
        &self.sql.as_bytes()[self.at..]
    }

    fn skip_while(&mut self, belongs: fn(u8) -> bool) {
        self.at += self.rest().iter().take_while(|byte| belongs(**byte)).count();
    }

    fn token(&mut self) -> Token {
        match (self.peek(0), self.peek(1)) {
            (byte, _) if is_space(byte) => {
                self.skip_while(is_space);
                Token::Gap
            }
            (b'-', b'-') => {
                self.skip_while(|byte| !is_newline(byte));
                Token::Gap
            }
            (b'/', b'*') => self.block_comment(),
            (b'\'', _) => self.string(1, self.backslash_escapes),
            (b'e' | b'E', b'\'') => self.string(2, true),
            (b'n' | b'N', b'\'') => self.string(2, self.backslash_escapes),
            (b'b' | b'B' | b'x' | b'X', b'\'') => self.string(2, false),
            (b'u' | b'U', b'&') if self.peek(2) == b'\'' => match self.backslash_escapes {
                true => Token::Doubt,
                false => self.string(3, false),
            },
            (b'"', _) => self.quoted_name(),
            (b'$', digit) if digit.is_ascii_digit() => {
                self.at += 1;
                self.skip_while(|byte| byte.is_ascii_digit());
                Token::Kept
            }
            (b'$', _) => self.dollar(),
            (b'.', b'.') => {
                self.at += 2;
                Token::Kept
            }
            (byte, next) if byte.is_ascii_digit() || byte == b'.' && next.is_ascii_digit() => self.number(),
            (byte, _) if is_name_start(byte) => {
                self.skip_while(is_name);
                Token::Kept
            }
            _ => {
                self.at += 1;
                Token::Kept
            }
        }
    }

    /// `/* … /* … */ … */`
    fn block_comment(&mut self) -> Token {
        let mut depth = 0;
        while self.at < self.sql.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Token::Gap;
                    }
                }
                _ => self.at += 1,
            }
        }
        Token::Doubt
    }

    /// A string constant whose opening takes `opening` bytes, with all its continuations on later lines: they
    /// follow the escape rules of the first part.
    fn string(&mut self, opening: usize, escapes: bool) -> Token {
        self.at += opening;
        loop {
            match self.peek(0) {
                b'\'' if self.peek(1) == b'\'' => self.at += 2,
                b'\'' => {
                    self.at += 1;
                    match self.continuation() {
                        Some(Continuation::Part(at)) => self.at = at,
                        Some(Continuation::Doubt) => return Token::Doubt,
                        None => return Token::Constant,
                    }
                }
                b'\\' if escapes => self.at += 2,
                _ => self.at += 1,
            }
            if self.at >= self.sql.len() {
                return Token::Doubt;
            }
        }
    }

    /// Whether white space with a line end in it, `--` comments allowed, leads to a further part of a string.
    fn continuation(&self) -> Option<Continuation> {
        let bytes = self.sql.as_bytes();
        let (mut at, mut newline) = (self.at, false);
        loop {
            match bytes.get(at)? {
                b'\'' if newline => return Some(Continuation::Part(at + 1)),
                // White space from PostgreSQL 16 on, an error before.
                0x0b => return Some(Continuation::Doubt),
                byte if is_space(*byte) => {
                    newline |= is_newline(*byte);
                    at += 1;
                }
                b'-' if bytes.get(at + 1) == Some(&b'-') => {
                    at += bytes[at..].iter().position(|byte| is_newline(*byte))?;
                }
                _ => return None,
            }
        }
    }

    /// `"…"`
    fn quoted_name(&mut self) -> Token {
        match self.rest()[1..].iter().position(|byte| *byte == b'"') {
            Some(len) => {
                self.at += len + 2;
                Token::Kept
            }
            None => Token::Doubt,
        }
    }

    /// `$tag$ … $tag$`, or a `$` that means nothing.
    fn dollar(&mut self) -> Token {
        let rest = &self.sql[self.at..];
        let tag_len = rest.bytes().skip(1).take_while(|byte| is_name(*byte) && *byte != b'$').count();
        if rest.as_bytes().get(1 + tag_len) != Some(&b'$') {
            self.at += 1;
            return Token::Kept;
        }
        let delimiter = &rest[..tag_len + 2];
        match rest[delimiter.len()..].find(delimiter) {
            Some(len) => {
                self.at += len + 2 * delimiter.len();
                Token::Constant
            }
            None => Token::Doubt,
        }
    }

    /// A number and whatever is glued to it: hexadecimal digits, an exponent, or what a newer version calls junk.
    fn number(&mut self) -> Token {
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'.', b'.') => break,
                (b'e' | b'E', b'+' | b'-') if self.peek(2).is_ascii_digit() => self.at += 2,
                (byte, _) if byte == b'.' || is_name(byte) && byte != b'$' => self.at += 1,
                _ => break,
            }
        }
        // `1E'…'`: a number and an E'…' in old versions, an error in new ones.
        let glued = !self.sql.as_bytes()[self.at - 1].is_ascii_digit();
        if glued && matches!(self.peek(0), b'\'' | b'&') { Token::Doubt } else { Token::Constant }
    }
}

/// What follows a string constant.
enum Continuation {
    /// A further part, whose text begins here.
    Part(usize),
    Doubt,
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_name(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit() || byte == b'$'
}
