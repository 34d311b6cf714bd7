#pragma once

namespace edgeproof::app {

/// From now on the first SIGINT or SIGTERM only asks for an end in good order; a second one of either ends the process.
void stop_on_signals();

/// Whether one arrived.
bool stop_requested();

}  // namespace edgeproof::app
