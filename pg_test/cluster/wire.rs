//! A session spoken by hand, protocol 3.0: the test decides what is parsed under which name, bound and executed, which a
//! driver's library decides by itself. Parameters and results are text.

use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use postgres::config::Host;

use crate::cluster::Cluster;

const PROTOCOL: i32 = 3 << 16;

/// What the server said to one message.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// A line for each row, fields with bars between; the lines of COPY as they come.
    pub rows: String,
    /// Notices and warnings with all their fields.
    pub notices: String,
    /// The SQLSTATE of an error.
    pub code: Option<String>,
    /// All fields of the error but its place in the server's sources.
    pub error: String,
}

impl Reply {
    /// Everything that was told, wherever.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}", self.rows, self.notices, self.error)
    }
}

/// A connection that trusts whoever connects.
pub struct Wire(BufReader<UnixStream>);

impl Wire {
    #[track_caller]
    pub fn connect(cluster: &Cluster, user: &str, database: &str) -> Wire {
        let config = cluster.config(user, database);
        let [Host::Unix(directory)] = config.get_hosts() else { panic!("no socket") };
        let stream = UnixStream::connect(directory.join(".s.PGSQL.5432")).expect("socket");
        let mut wire = Wire(BufReader::new(stream));
        let mut body = PROTOCOL.to_be_bytes().to_vec();
        for text in ["user", user, "database", database, "application_name", "cluster test", ""] {
            push_text(&mut body, text);
        }
        wire.write(None, &body);
        let reply = wire.read();
        assert!(reply.code.is_none(), "{user} cannot connect: {reply:?}");
        wire
    }

    /// Simple query.
    pub fn simple(&mut self, query: &str) -> Reply {
        self.write(Some(b'Q'), &with_text(query));
        self.read()
    }

    /// The same, where nothing may go wrong.
    #[track_caller]
    pub fn command(&mut self, query: &str) -> Reply {
        let reply = self.simple(query);
        assert!(reply.code.is_none(), "{query}: {reply:?}");
        reply
    }

    /// Parse, Sync; the types of parameters are what the server finds.
    pub fn parse(&mut self, name: &str, query: &str) -> Reply {
        self.send_parse(name, query);
        self.sync()
    }

    /// Bind to the unnamed portal, Describe, Execute, Sync.
    pub fn execute(&mut self, name: &str, parameters: &[&str]) -> Reply {
        self.send_bind("", name, parameters);
        self.send_execute("", 0);
        self.sync()
    }

    /// Parse, Bind, Describe, Execute, Sync in one go, all of them unnamed.
    pub fn unnamed(&mut self, query: &str, parameters: &[&str]) -> Reply {
        self.send_parse("", query);
        self.execute("", parameters)
    }

    /// Bind, Sync: a portal that stays until the transaction ends.
    pub fn bind(&mut self, portal: &str, name: &str, parameters: &[&str]) -> Reply {
        self.send_bind(portal, name, parameters);
        self.sync()
    }

    /// Execute, Sync: so many rows more of a portal, 0 for all.
    pub fn fetch(&mut self, portal: &str, rows: i32) -> Reply {
        self.send_execute(portal, rows);
        self.sync()
    }

    fn send_parse(&mut self, name: &str, query: &str) {
        let body = [with_text(name), with_text(query), 0_i16.to_be_bytes().to_vec()].concat();
        self.write(Some(b'P'), &body);
    }

    fn send_bind(&mut self, portal: &str, name: &str, parameters: &[&str]) {
        let mut body = [with_text(portal), with_text(name)].concat();
        body.extend(0_i16.to_be_bytes());
        body.extend((parameters.len() as i16).to_be_bytes());
        for parameter in parameters {
            body.extend((parameter.len() as i32).to_be_bytes());
            body.extend(parameter.as_bytes());
        }
        body.extend(0_i16.to_be_bytes());
        self.write(Some(b'B'), &body);
        self.write(Some(b'D'), &[b"P", with_text(portal).as_slice()].concat());
    }

    fn send_execute(&mut self, portal: &str, rows: i32) {
        let body = [with_text(portal), rows.to_be_bytes().to_vec()].concat();
        self.write(Some(b'E'), &body);
    }

    fn sync(&mut self) -> Reply {
        self.write(Some(b'S'), &[]);
        self.read()
    }

    fn write(&mut self, kind: Option<u8>, body: &[u8]) {
        let length = (body.len() as i32 + 4).to_be_bytes();
        let message = [kind.as_slice(), &length, body].concat();
        self.0.get_mut().write_all(&message).expect("the server takes a message");
    }

    /// Up to ReadyForQuery, or to the end that a fatal error makes.
    fn read(&mut self) -> Reply {
        let mut reply = Reply::default();
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head).expect("the server answers");
            let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
            let mut body = vec![0; length];
            self.0.read_exact(&mut body).expect("the server answers");
            match head[0] {
                b'D' => reply.rows += &(row(&body) + "\n"),
                b'd' => reply.rows += &String::from_utf8_lossy(&body),
                b'N' => reply.notices += &(fields(&body).1 + "\n"),
                b'E' => {
                    let (code, text) = fields(&body);
                    (reply.code, reply.error) = (Some(code), text);
                    if reply.error.contains("FATAL") {
                        return reply;
                    }
                }
                b'R' => assert_eq!(body, [0; 4], "the server trusts"),
                b'Z' => return reply,
                _ => {}
            }
        }
    }
}

fn with_text(text: &str) -> Vec<u8> {
    let mut body = Vec::new();
    push_text(&mut body, text);
    body
}

fn push_text(body: &mut Vec<u8>, text: &str) {
    body.extend(text.as_bytes());
    body.push(0);
}

/// A DataRow.
fn row(body: &[u8]) -> String {
    let count = i16::from_be_bytes([body[0], body[1]]);
    let mut rest = &body[2..];
    let mut next = || {
        let (length, after) = rest.split_at(4);
        let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
        let (field, after) = after.split_at(length.max(0) as usize);
        rest = after;
        if length < 0 { "NULL".to_owned() } else { String::from_utf8_lossy(field).into_owned() }
    };
    (0..count).map(|_| next()).collect::<Vec<String>>().join("|")
}

/// The SQLSTATE of an error or notice, and what its fields say.
fn fields(body: &[u8]) -> (String, String) {
    let mut code = String::new();
    let mut told = Vec::new();
    for field in body.split(|byte| *byte == 0).filter(|field| !field.is_empty()) {
        let text = String::from_utf8_lossy(&field[1..]).into_owned();
        match field[0] {
            b'C' => code = text,
            b'F' | b'L' | b'R' | b'P' | b'p' => {}
            _ => told.push(text),
        }
    }
    (code, told.join(" / "))
}
