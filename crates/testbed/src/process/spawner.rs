//! The one thread that starts children: the kernel ties their life to it, and it lives as long as we do.

use std::{
    io,
    process::{Child, Command},
    sync::{
        LazyLock,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

struct Order {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

/// Never dropped, so the thread never ends by itself. Callers wait for their answer, hence one place is enough.
static ORDERS: LazyLock<io::Result<SyncSender<Order>>> = LazyLock::new(|| {
    let (orders, taken) = sync_channel::<Order>(1);
    thread::Builder::new().name("testbed-spawner".to_owned()).spawn(move || {
        for Order { mut command, answer } in taken {
            // Nobody waits any more: dropping a started child would leave it running, so it is killed.
            if let Err(unwanted) = answer.send(command.spawn())
                && let Ok(mut child) = unwanted.0
                && let Err(error) = child.kill()
            {
                tracing::warn!(%error, "cannot end a program that nobody waits for");
            }
        }
    })?;
    Ok(orders)
});

/// Starts `command` from that thread.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let orders =
        ORDERS.as_ref().map_err(|error| io::Error::new(error.kind(), "cannot start the spawner thread"))?;
    let (answer, answered) = sync_channel(1);
    let gone = |_| io::Error::other("the spawner thread has ended");
    orders.send(Order { command, answer }).map_err(|error| gone(error.to_string()))?;
    answered.recv().map_err(|error| gone(error.to_string()))?
}
