//! How the demo ends: by itself, or told to.

use anyhow::anyhow;
use std::pin::pin;

/// Plays the tour; keeps what it leaves running until told to stop. Whatever the tour started has ended when this
/// returns.
///
/// # Errors
/// Those of the tour; and told to stop before the tour was over is a failure, too.
pub async fn play<R>(
    stop: impl Future<Output = ()>,
    tour: impl Future<Output = anyhow::Result<Option<R>>>,
) -> anyhow::Result<()> {
    let mut stop = pin!(stop);
    let running = tokio::select! {
        biased;
        () = &mut stop => Err(anyhow!("the tour was interrupted")),
        running = tour => running,
    }?;
    if let Some(running) = running {
        stop.await;
        drop(running);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use std::{
        future::{pending, ready},
        rc::Rc,
    };

    /// Something that runs, and an eye on whether it still does.
    fn started() -> (Rc<()>, impl Fn() -> bool) {
        let started = Rc::new(());
        let watched = Rc::downgrade(&started);
        (started, move || watched.strong_count() > 0)
    }

    #[test]
    fn a_tour_told_to_stop_fails_and_what_it_started_ends() {
        let (started, runs) = started();
        let tour = async move {
            pending::<()>().await;
            Ok(Some(started))
        };
        let ended = play(ready(()), tour).now_or_never().unwrap();
        assert!(ended.is_err());
        assert!(!runs());
    }

    #[test]
    fn what_stays_up_after_the_tour_ends_well_when_told_to_stop() {
        let (started, runs) = started();
        let (stop, told) = futures::channel::oneshot::channel::<()>();
        let mut demo = pin!(play(told.map(drop), ready(Ok(Some(started)))));
        assert!(demo.as_mut().now_or_never().is_none());
        assert!(runs());

        stop.send(()).unwrap();
        demo.now_or_never().unwrap().unwrap();
        assert!(!runs());
    }

    #[test]
    fn a_tour_that_leaves_nothing_running_waits_for_nobody() {
        play(pending(), ready(Ok(None::<()>))).now_or_never().unwrap().unwrap();
        let failed = ready(Err::<Option<()>, _>(anyhow!("not Ready")));
        assert!(play(pending(), failed).now_or_never().unwrap().is_err());
    }
}
