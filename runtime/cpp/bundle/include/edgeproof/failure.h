#pragma once

#include <stdexcept>
#include <string>

#include "edgeproof/spec.h"

namespace edgeproof {

/// A deliberate end of the program: what could not be done, what was found, what would have been right, how to mend it.
struct Failure : std::runtime_error {
    Failure(ExitCode code, const std::string &what, const std::string &got = {}, const std::string &expected = {},
            const std::string &fix = {})
        : std::runtime_error(what + line("got:      ", got) + line("expected: ", expected) + line("fix:      ", fix)),
          code(code) {}

    ExitCode code;

  private:
    static std::string line(const char *name, const std::string &text) {
        return text.empty() ? std::string() : "\n  " + (name + text);
    }
};

/// Bad usage or bad input.
inline Failure bad_input(const std::string &what, const std::string &got = {}, const std::string &expected = {},
                         const std::string &fix = {}) {
    return {ExitCode::bad_input, what, got, expected, fix};
}

/// This machine, or this build, lacks what was asked for.
inline Failure unavailable(const std::string &what, const std::string &got = {}, const std::string &expected = {},
                           const std::string &fix = {}) {
    return {ExitCode::unavailable, what, got, expected, fix};
}

}  // namespace edgeproof
