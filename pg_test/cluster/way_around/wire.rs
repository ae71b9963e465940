//! The frontend protocol by hand, for what no client library sends any more: function calls on the fastpath, portals
//! that are left suspended, odd start-up packets.

use crate::cluster::Cluster;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// A connection that trusts everybody, as test clusters do.
pub struct Wire(UnixStream);

/// One message of the server: its type and its content.
pub type Message = (u8, Vec<u8>);

impl Wire {
    /// Connects as a login. The error is the server's message.
    pub fn connect(cluster: &Cluster, user: &str, database: &str, more: &[(&str, &str)]) -> Result<Wire, String> {
        let stream = UnixStream::connect(cluster.file(".s.PGSQL.5432")).expect("socket");
        let mut wire = Wire(stream);
        let mut body = 196_608_i32.to_be_bytes().to_vec();
        for (name, value) in [("user", user), ("database", database)].iter().chain(more) {
            body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        body.push(0);
        let length = (body.len() as i32 + 4).to_be_bytes();
        wire.0.write_all(&[&length[..], &body].concat()).expect("start-up packet");
        let answer = wire.until_ready();
        match error(&answer) {
            Some(message) => Err(message),
            None => Ok(wire),
        }
    }

    /// Sends one message.
    pub fn send(&mut self, kind: u8, body: &[u8]) {
        let length = (body.len() as i32 + 4).to_be_bytes();
        self.0.write_all(&[&[kind][..], &length, body].concat()).expect("message");
    }

    /// Calls a function on the fastpath with text arguments; the text of its result.
    pub fn call(&mut self, function: u32, arguments: &[&str]) -> Result<String, String> {
        let mut body = function.to_be_bytes().to_vec();
        // One format for all arguments: text.
        body.extend([0, 1, 0, 0]);
        body.extend((arguments.len() as i16).to_be_bytes());
        for argument in arguments {
            body.extend((argument.len() as i32).to_be_bytes());
            body.extend(argument.as_bytes());
        }
        body.extend([0, 0]);
        self.send(b'F', &body);
        let answer = self.until_ready();
        match (error(&answer), answer.iter().find(|(kind, _)| *kind == b'V')) {
            (Some(message), _) => Err(message),
            (None, Some((_, value))) => Ok(String::from_utf8_lossy(value.get(4..).unwrap_or_default()).into_owned()),
            (None, None) => panic!("neither a result nor an error: {answer:?}"),
        }
    }

    /// A simple query; the error's SQLSTATE and message if it fails.
    pub fn query(&mut self, text: &str) -> Result<(), String> {
        self.send(b'Q', &[text.as_bytes(), b"\0"].concat());
        error(&self.until_ready()).map_or(Ok(()), Err)
    }

    /// Everything up to and with ReadyForQuery, or up to an error that ends the connection.
    pub fn until_ready(&mut self) -> Vec<Message> {
        self.until(b"Z")
    }

    /// Everything up to and with a message of one of these types.
    pub fn until(&mut self, types: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(message) = self.receive() {
            let last = types.contains(&message.0);
            messages.push(message);
            if last {
                break;
            }
        }
        messages
    }

    fn receive(&mut self) -> Option<Message> {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).ok()?;
        let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length - 4];
        self.0.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }
}

/// The first error among messages, as `SQLSTATE message`.
pub fn error(messages: &[Message]) -> Option<String> {
    let (_, body) = messages.iter().find(|(kind, _)| *kind == b'E')?;
    let fields: Vec<String> =
        body.split(|byte| *byte == 0).map(|field| String::from_utf8_lossy(field).into_owned()).collect();
    let field = |kind: char| fields.iter().find_map(|field| field.strip_prefix(kind)).unwrap_or_default();
    Some(format!("{} {}", field('C'), field('M')))
}
