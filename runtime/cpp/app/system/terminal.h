#pragma once

namespace edgeproof::app {

/// Print a result, formatted as by `printf`, on standard output, or on stderr after `results_on_stderr`. Control
/// characters in names and labels are shown escaped.
[[gnu::format(printf, 1, 2)]] void say(const char *format, ...);

/// Print a message on stderr in the same way; in the journal it has the priority of information.
[[gnu::format(printf, 1, 2)]] void note(const char *format, ...);

/// The same with the priority of a warning.
[[gnu::format(printf, 1, 2)]] void warn(const char *format, ...);

/// The same with the priority of an error.
[[gnu::format(printf, 1, 2)]] void fail(const char *format, ...);

/// Keep results off standard output, which takes a file.
void results_on_stderr();

/// Open the null device in place of closed standard streams: their numbers would go to the next files opened, and what
/// libraries print would be written into those.
void open_closed_streams();

/// Throw `Failure` (bad input) if something printed on standard output was lost, for example on a full disk.
void check_standard_output();

}  // namespace edgeproof::app
