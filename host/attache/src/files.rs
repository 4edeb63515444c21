//! Files on disk: those that are sent are read, and those that arrive are written, piece by piece.
//!
//! The engine says which piece it wants next; reading and writing happens on threads that may block, and never on the account's
//! task. What arrives lies beside its place under another name until all of it is there and is what was offered, so nobody
//! opens half a file, and nothing that was there before is replaced.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use attache_messenger::{
    command::Command,
    file::{FileHash, FileInput, FileRequest, FileTransfer, HashAlgorithm},
    id::FileId,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use sha2::{Digest, Sha256};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{Address, Code, Error, Messenger};

/// Octets that are read at once when a file is hashed.
const PIECE: usize = 64 * 1024;

/// A file that is open for a transfer.
pub(crate) struct Open {
    file: Arc<Mutex<File>>,
    /// Where an incoming file goes when it is complete, and where it lies until then.
    place: Option<(PathBuf, PathBuf)>,
    /// Hears when it is closed and in its place.
    closed: Option<oneshot::Sender<io::Result<()>>>,
    /// Pieces that are being read or written.
    pending: usize,
    /// Whether all of it is there; known when it is to be closed.
    closing: Option<bool>,
}

impl Open {
    /// Opens a file that is sent, and reads its length and its hash.
    fn outgoing(path: &Path) -> io::Result<(Self, u64, FileHash)> {
        let mut file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let (mut hash, mut size, mut piece) = (Sha256::new(), 0_u64, vec![0; PIECE]);
        loop {
            let read = file.read(&mut piece)?;
            if read == 0 {
                break;
            }
            hash.update(&piece[..read]);
            size += read as u64;
        }
        let hash = FileHash { algorithm: HashAlgorithm::Sha256, bytes: hash.finalize().to_vec() };
        Ok((Self::new(file, None, None), size, hash))
    }

    /// Makes a file that arrives. What lies at its place already stays, and is an error.
    fn incoming(path: &Path, closed: oneshot::Sender<io::Result<()>>) -> io::Result<Self> {
        if path.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_owned();
        name.push(".part");
        let part = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&part)?;
        Ok(Self::new(file, Some((path.to_owned(), part)), Some(closed)))
    }

    fn new(
        file: File,
        place: Option<(PathBuf, PathBuf)>,
        closed: Option<oneshot::Sender<io::Result<()>>>,
    ) -> Self {
        Self { file: Arc::new(Mutex::new(file)), place, closed, pending: 0, closing: None }
    }
}

/// A complete file goes to its place; what is not complete goes away.
fn close(file: &Mutex<File>, place: &Path, part: &Path, complete: bool) -> io::Result<()> {
    if !complete {
        return fs::remove_file(part);
    }
    file.lock().unwrap_or_else(PoisonError::into_inner).sync_all()?;
    // Linked and not renamed: what came to lie there meanwhile is not replaced.
    match fs::hard_link(part, place) {
        Ok(()) => fs::remove_file(part),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // A file system without links.
        Err(_) => fs::rename(part, place),
    }
}

/// The files of an account that are on their way.
#[derive(Default)]
pub(crate) struct Files {
    open: HashMap<FileId, Open>,
    doing: FuturesUnordered<JoinHandle<FileInput>>,
}

impl Files {
    pub(crate) fn insert(&mut self, id: FileId, open: Open) {
        self.open.insert(id, open);
    }

    /// Gives a file back whose transfer was not taken on.
    pub(crate) fn abandon(&mut self, id: FileId) {
        self.close(id, false);
    }

    /// Does what the engine asks for.
    pub(crate) fn request(&mut self, request: FileRequest) {
        match request {
            FileRequest::Read { file: id, offset, length } => self.piece(id, move |file| {
                let mut bytes = vec![0; length];
                file.seek(SeekFrom::Start(offset))?;
                let mut read = 0;
                while read < length {
                    match file.read(&mut bytes[read..])? {
                        0 => break,
                        more => read += more,
                    }
                }
                bytes.truncate(read);
                Ok(FileInput::Read { file: id, offset, bytes: bytes.into() })
            }),
            FileRequest::Write { file: id, offset, bytes } => self.piece(id, move |file| {
                file.seek(SeekFrom::Start(offset))?;
                file.write_all(&bytes)?;
                Ok(FileInput::Written { file: id, bytes: bytes.len() })
            }),
            FileRequest::Close { file: id, complete } => self.close(id, complete),
        }
    }

    fn piece(&mut self, id: FileId, work: impl FnOnce(&mut File) -> io::Result<FileInput> + Send + 'static) {
        let Some(open) = self.open.get_mut(&id) else {
            let failed = FileInput::Failed { file: id, reason: "nobody has opened it".to_owned() };
            self.doing.push(tokio::spawn(core::future::ready(failed)));
            return;
        };
        open.pending += 1;
        let file = open.file.clone();
        self.doing.push(tokio::task::spawn_blocking(move || {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut file).unwrap_or_else(|error| FileInput::Failed { file: id, reason: error.to_string() })
        }));
    }

    /// What was read or written next; pending while there is nothing.
    pub(crate) async fn next(&mut self) -> FileInput {
        loop {
            match self.doing.next().await {
                Some(Ok(input)) => {
                    let (FileInput::Read { file: id, .. }
                    | FileInput::Written { file: id, .. }
                    | FileInput::Failed { file: id, .. }) = &input;
                    self.settle(*id);
                    return input;
                }
                // The runtime shuts down, and the account with it.
                Some(Err(_)) => {}
                None => core::future::pending().await,
            }
        }
    }

    fn settle(&mut self, id: FileId) {
        let Some(open) = self.open.get_mut(&id) else { return };
        open.pending = open.pending.saturating_sub(1);
        if let Some(complete) = open.closing {
            self.close(id, complete);
        }
    }

    /// Closes a file when nothing of it is under way any more.
    fn close(&mut self, id: FileId, complete: bool) {
        let Some(open) = self.open.get_mut(&id) else { return };
        if open.pending > 0 {
            open.closing = Some(complete);
            return;
        }
        let Some(Open { file, place: Some((place, part)), closed, .. }) = self.open.remove(&id) else {
            return;
        };
        tokio::task::spawn_blocking(move || {
            let outcome = close(&file, &place, &part, complete);
            if let Err(error) = &outcome {
                tracing::warn!(file = %id, %error, "a file that arrived is not in its place");
            }
            if let Some(closed) = closed {
                let _ = closed.send(outcome);
            }
        });
    }
}

/// Files. How far each has come is told by [`FileChanged`](crate::EventKind::FileChanged).
impl Messenger {
    /// Offers a file to somebody (RFC 5547), and says which transfer it is when it was taken on. The file is read while it is
    /// sent, and must not change until then.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when the file cannot be read, [`Code::NotLoggedOn`], [`Code::SessionInvitedSelf`],
    /// [`Code::Busy`] with too many files.
    pub async fn send_file(&self, to: &Address, path: &Path) -> Result<FileId, Error> {
        let (source, shown) = (path.to_owned(), path.display().to_string());
        let opened = tokio::task::spawn_blocking(move || Open::outgoing(&source)).await;
        let opened = opened.map_err(|_| Error::new(Code::Closed, "the host has shut down"))?;
        let (open, size, hash) = opened.map_err(|error| {
            Error::new(Code::InvalidArgument, format!("{shown} cannot be sent")).because(error.to_string())
        })?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let command = Command::OfferFile {
            to: to.clone(),
            media_type: media_type(&name).into(),
            name: name.into(),
            size,
            hash: Some(hash),
        };
        let accepted = self.shared().file(command, None, open).await?.0;
        accepted.file.ok_or_else(|| Error::new(Code::Internal, "a file has no handle"))
    }

    /// Takes a file that was offered, and puts it there. Completes when all of it lies in its place. Nothing that lies there is
    /// replaced; until it is complete, it lies beside its place with `.part` behind its name.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when there can be no such file, [`Code::NotFound`] when nothing of this handle waits to be
    /// taken, or why it did not arrive.
    pub async fn accept_file(&self, file: FileId, path: &Path) -> Result<(), Error> {
        let (place, shown) = (path.to_owned(), path.display().to_string());
        let wrong = |error: &io::Error| {
            Error::new(Code::InvalidArgument, format!("{shown} cannot be written")).because(error.to_string())
        };
        let (closed, in_place) = oneshot::channel();
        let opened = tokio::task::spawn_blocking(move || Open::incoming(&place, closed)).await;
        let opened = opened.map_err(|_| Error::new(Code::Closed, "the host has shut down"))?;
        let open = opened.map_err(|error| wrong(&error))?;
        let (_, completed) = self.shared().file(Command::AcceptFile(file), Some(file), open).await?;
        let ended = || Error::new(Code::Closed, "the host has shut down");
        completed.await.map_err(|_| ended())??;
        in_place.await.map_err(|_| ended())?.map_err(|error| wrong(&error))
    }

    /// Declines a file that was offered, or calls one off that is on its way.
    ///
    /// # Errors
    /// [`Code::NotFound`].
    pub async fn decline_file(&self, file: FileId) -> Result<(), Error> {
        self.shared().complete(Command::DeclineFile(file)).await.map(drop)
    }

    /// Files on their way, and some that ended lately.
    #[must_use]
    pub fn files(&self) -> Vec<Arc<FileTransfer>> {
        self.snapshot().files.values().cloned().collect()
    }
}

/// The media type of a file by the end of its name, for those that are sent most.
fn media_type(name: &str) -> &'static str {
    let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default();
    match end.as_str() {
        "txt" | "log" | "md" => "text/plain",
        "htm" | "html" => "text/html",
        "csv" => "text/csv",
        "json" => "application/json",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        _ => "application/octet-stream",
    }
}
