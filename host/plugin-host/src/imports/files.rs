//! `files`: what is offered and on its way.

use attache_messenger::{
    command::Command,
    file::{FileState, FileTransfer},
    id::FileId,
};

use super::{answer, wit};
use crate::{grant::Grant, state::GuestState};

type Answer<T> = wasmtime::Result<Result<T, wit::types::Error>>;

impl wit::files::Host for GuestState {
    fn list_files(&mut self, account: u64) -> Answer<Vec<wit::files::File>> {
        self.spend_call()?;
        answer(self.work(|state| {
            state.granted("files.list-files", Grant::FilesRead)?;
            Ok(state.snapshot(account)?.files.values().map(|file| wit_file(file)).collect())
        }))
    }

    async fn decline_file(&mut self, account: u64, id: u64) -> Answer<u64> {
        self.spend_call()?;
        answer(match self.granted("files.decline-file", Grant::FilesRead) {
            Ok(()) => self.request(account, Command::DeclineFile(FileId(id))).await,
            Err(error) => Err(error),
        })
    }
}

fn wit_file(file: &FileTransfer) -> wit::files::File {
    wit::files::File {
        id: file.id.0,
        conversation: file.conversation.0,
        peer: file.peer.to_string(),
        incoming: file.incoming,
        name: file.name.to_string(),
        media_type: file.media_type.to_string(),
        size: file.size,
        done: file.done,
        state: match &file.state {
            FileState::Offered => wit::files::FileState::Offered,
            FileState::Transferring => wit::files::FileState::Transferring,
            FileState::Done => wit::files::FileState::Done,
            _ => wit::files::FileState::Ended,
        },
    }
}
