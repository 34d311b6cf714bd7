#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace edgeproof {

/// A signature file whose structure was checked, and nothing else; see `edgeproof_runtime.bundle.envelope`.
struct Envelope {
    std::string material;                   ///< "publicKey", "certificates" or "keyless"
    std::vector<std::string> certificates;  ///< DER, the signer's first
    std::string payload;
    std::string signature;

    /// What is signed: DSSE's pre-authentication encoding.
    std::string message() const;
    /// sha256 of each signed file. Throws `Failure` (bad input): not a statement over files.
    std::map<std::string, std::string> digests() const;
    /// When the signer says that it signed; none for a signature that does not say. Throws `Failure` (bad input).
    std::optional<std::string> signed_at() const;
};

/// Throws `Failure` (bad input): not a Sigstore bundle with one DSSE signature.
Envelope read_envelope(const std::string &content, const std::string &name);

/// Whether a text is a UTC time, 2026-11-28T12:00:00Z.
bool is_time(const std::string &text);

}  // namespace edgeproof
