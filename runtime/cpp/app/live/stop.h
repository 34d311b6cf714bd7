#pragma once

namespace edgeproof::app {

/// From now on the first SIGINT, SIGTERM or SIGHUP only asks for an end in good order; a second SIGINT or SIGTERM ends
/// the process. SIGHUP stays ignored where it is, as by nohup.
void stop_on_signals();

/// Whether one arrived.
bool stop_requested();

}  // namespace edgeproof::app
