//! `attache run`: the accounts and plugins of a file, driven from standard input.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use attache::{Address, Change, Host, LoadState, View};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    Events, Failure, command, json,
    perform::{Desk, Output, hold_back},
    printer::Printer,
    text,
};

/// What `attache run --help` says of the commands.
pub(crate) const HELP: &str = "\
Commands on standard input, one a line:
  status AVAILABILITY [\"NOTE\"]   publish own presence (available, busy, away, do-not-disturb, …)
  add ADDRESS [NAME]             put somebody on the contact list
  contacts                       the list, with presence
  im ADDRESS TEXT                send a message
  history [WORDS]                search what plugins have archived
  quit                           sign out and end
  help                           all of them: own presence, people off the list, who may see what, accounts
or JSON, such as {\"id\":\"1\",\"command\":\"im\",\"to\":\"sip:bob@example.com\",\"text\":\"hello\"}.
Each is answered by one command-result with its id, ok, and on failure code and message.
The system's SIGHUP is `reload`.
An account whose password was refused stays signed out until `sign-in`; the program goes on. At the end of
standard input the program goes on until it is told to end by a signal.";

/// Longest line on standard input, in bytes.
const LINE: u64 = 256 * 1024;

pub(crate) async fn run(path: &Path, events: Events) -> Result<(), Failure> {
    let config = crate::read(path)?;
    let (printer, closed) = Printer::start()?;
    let output = Arc::new(Console { printer, events });
    let mut config = config;
    let wanted = hold_back(&mut config);
    let host = Host::start(config).await?;
    let readers = Arc::new(Mutex::new(JoinSet::new()));
    let (reading, console) = (readers.clone(), output.clone());
    let desk = Desk::new(host.clone(), path.to_owned(), move |messenger| {
        // The view begins here, not when its task gets to run: the first event belongs to it.
        let printing = print_changes(console.clone(), messenger.address().clone(), messenger.view());
        let mut readers = reading.lock().unwrap_or_else(PoisonError::into_inner);
        readers.spawn(printing);
        // Those of accounts that are gone.
        while readers.try_join_next().is_some() {}
    });
    for messenger in host.messengers() {
        let sign_in = wanted.get(messenger.address()).copied().unwrap_or_default();
        desk.begin(&messenger, sign_in).await?;
    }
    tokio::spawn(tell_plugins(output.clone(), host.clone()));
    let (commands, inputs) = mpsc::channel(64);
    std::thread::Builder::new()
        .name("attache-input".to_owned())
        .spawn(move || read_lines(std::io::stdin(), &commands))?;
    // Commands are carried out one after the other, and a slow one does not keep the program from ending.
    let mut working = tokio::spawn(work(output.clone(), desk.clone(), inputs));
    let mut hangups = Hangups::new()?;
    let mut quits = true;
    let mut closed = closed;
    let ended = crate::ended();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            quit = &mut working, if quits => match quit {
                Ok(true) => break,
                // The end of standard input is not the end of the program.
                _ => quits = false,
            },
            result = &mut ended => {
                result?;
                break;
            }
            () = hangups.next() => {
                let result = desk.reload().await;
                output.result(&Value::Null, result).await;
            }
            _ = &mut closed => break,
        }
    }
    working.abort();
    host.shutdown().await;
    // Whoever reads the output may have stopped reading, and must not keep the program either.
    let farewell = async {
        let mut readers = core::mem::take(&mut *readers.lock().unwrap_or_else(PoisonError::into_inner));
        while readers.join_next().await.is_some() {}
        output.printer.flush().await;
    };
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
    Ok(())
}

/// What the system sends a program whose configuration file has changed.
struct Hangups(#[cfg(unix)] tokio::signal::unix::Signal);

impl Hangups {
    #[cfg(unix)]
    fn new() -> std::io::Result<Self> {
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).map(Self)
    }

    #[cfg(not(unix))]
    fn new() -> std::io::Result<Self> {
        Ok(Self())
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if self.0.recv().await.is_some() {
            return;
        }
        core::future::pending::<()>().await;
    }
}

/// Says which plugins do not run, or not as they should.
async fn tell_plugins(output: Arc<Console>, host: Host) {
    host.plugins_loaded().await;
    for plugin in host.plugins() {
        let refused = match &plugin.load {
            LoadState::Refused { reason } => Some(reason.clone()),
            _ => None,
        };
        if refused.is_none() && plugin.warnings.is_empty() {
            continue;
        }
        for line in text::plugin(&plugin) {
            eprintln!("attache: plugin {line}");
        }
        if output.events == Events::Json {
            let told = refused.map(|reason| ("plugin-refused", reason)).into_iter();
            let warnings = plugin.warnings.iter().map(|warning| ("plugin-warning", warning.clone()));
            for (event, reason) in told.chain(warnings) {
                let line = json!({ "event": event, "plugin": &*plugin.name, "reason": reason });
                output.printer.line(line.to_string()).await;
            }
        }
    }
}

/// Longest wait for the reader of standard output at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Carries out lines until one says `quit` (true) or there are no more.
///
/// `quit` does not wait for a command that waits for the service: it is looked for ahead, and what is under way has
/// [`FAREWELL`] to finish.
async fn work(
    output: Arc<Console>,
    desk: Arc<Desk>,
    mut inputs: mpsc::Receiver<Result<String, String>>,
) -> bool {
    let (sender, mut lines) = mpsc::unbounded_channel();
    let ahead = async move {
        while let Some(line) = inputs.recv().await {
            let quit =
                matches!(&line, Ok(line) if matches!(command::parse(line), Ok(input) if input.is_quit()));
            if sender.send(line).is_err() || quit {
                return quit;
            }
        }
        drop(sender);
        core::future::pending().await
    };
    let perform = async {
        while let Some(line) = lines.recv().await {
            if output.answer(&desk, line).await {
                return true;
            }
        }
        false
    };
    tokio::pin!(perform);
    tokio::select! {
        quit = &mut perform => quit,
        _ = ahead => {
            let _ = tokio::time::timeout(FAREWELL, perform).await;
            true
        }
    }
}

/// Passes lines on in order. Ends with standard input, or when nobody takes lines any more.
///
/// A thread of its own, not a task: a read from a terminal cannot be given up, and must not keep the program from ending.
fn read_lines(input: impl Read, lines: &mpsc::Sender<Result<String, String>>) {
    let mut reader = BufReader::new(input);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let whole = line.last() == Some(&b'\n') || (line.len() as u64) < LINE;
        let item = match String::from_utf8(line) {
            _ if !whole => {
                // The rest of the line is of no use either.
                if reader.skip_until(b'\n').is_err() {
                    return;
                }
                Err(format!("the line is longer than {LINE} bytes"))
            }
            Ok(line) => Ok(line),
            Err(_) => Err("the line is not UTF-8 text".to_owned()),
        };
        if matches!(&item, Ok(line) if line.trim().is_empty()) {
            continue;
        }
        if lines.blocking_send(item).is_err() {
            return;
        }
    }
}

struct Console {
    printer: Printer,
    events: Events,
}

impl Console {
    /// Carries out one line; true when the program shall end.
    async fn answer(&self, desk: &Desk, line: Result<String, String>) -> bool {
        let parsed = match line {
            Ok(line) => command::parse(&line),
            Err(message) => Err((Value::Null, attache::Error::new(attache::Code::InvalidArgument, message))),
        };
        let (id, result) = match parsed {
            Ok(input) => (input.id.clone(), desk.perform(input).await),
            Err((id, refused)) => (id, Err(refused)),
        };
        let quit = matches!(result, Ok(Output::Quit));
        self.result(&id, result).await;
        quit
    }

    async fn result(&self, id: &Value, result: Result<Output, attache::Error>) {
        match self.events {
            Events::Json => {
                let mut object = json!({ "event": "command-result", "id": id });
                match result {
                    Ok(Output::Done(fields, _)) => {
                        object["ok"] = true.into();
                        if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
                            object.extend(fields);
                        }
                    }
                    Ok(Output::Quit) => object["ok"] = true.into(),
                    Err(refused) => {
                        object["ok"] = false.into();
                        if let (Value::Object(object), Value::Object(fields)) =
                            (&mut object, json::failure(&refused))
                        {
                            object.extend(fields);
                        }
                    }
                }
                self.printer.line(object.to_string()).await;
            }
            Events::Text => {
                let name = match id {
                    Value::Null => String::new(),
                    id => format!("[{id}] "),
                };
                match result {
                    Ok(Output::Done(_, lines)) if lines.is_empty() => {
                        self.printer.line(format!("{name}ok")).await;
                    }
                    Ok(Output::Done(_, lines)) => {
                        for line in lines {
                            self.printer.line(format!("{name}{line}")).await;
                        }
                    }
                    Ok(Output::Quit) => {}
                    Err(refused) => {
                        let words = text::safe(&refused.to_string());
                        self.printer.line(format!("{name}failed: {words}")).await;
                    }
                }
            }
        }
    }
}

async fn print_changes(output: Arc<Console>, account: Address, mut view: View) {
    while let Some(change) = view.changes.next().await {
        let lines: Vec<String> = match (&change, output.events) {
            (Change::Event(event), Events::Json) => {
                json::event(&account, event).iter().map(Value::to_string).collect()
            }
            (Change::Event(event), Events::Text) => text::event(&account, event),
            (Change::Reset(snapshot), Events::Json) => vec![json::reset(snapshot).to_string()],
            (Change::Reset(snapshot), Events::Text) => snapshot.contacts.values().map(text::entry).collect(),
            _ => Vec::new(),
        };
        for line in lines {
            output.printer.line(line).await;
        }
    }
}
