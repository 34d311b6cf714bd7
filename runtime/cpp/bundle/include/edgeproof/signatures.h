#pragma once

#include <ctime>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace edgeproof {

/// Public-key cryptography, which this library does not contain: `edgeproof-run` takes OpenSSL's libcrypto.
class Crypto {
  public:
    virtual ~Crypto() = default;

    /// Check that a PEM file holds a supported public key: ECDSA on P-256, P-384 or P-521.
    /// Throws `Failure` (bad input).
    virtual void check_key(const std::string &pem, const std::string &name) const = 0;

    /// Check that a PEM file holds certificates. Throws `Failure` (bad input).
    virtual void check_certificates(const std::string &pem, const std::string &name) const = 0;

    /// Check an ECDSA signature (ASN.1 DER) with a PEM public key, with the hash of the key's curve.
    /// Throws `Failure` (bad input).
    virtual void verify(const std::string &pem, const std::string &message, const std::string &signature) const = 0;

    /// Check a signature by the first of a chain of DER certificates, and the chain up to one of the PEM certificates.
    /// Returns the subject of the first. Throws `Failure` (bad input).
    virtual std::string verify_chain(const std::string &authorities, const std::vector<std::string> &chain,
                                     const std::string &message, const std::string &signature,
                                     std::time_t now) const = 0;
};

/// What a trusted signature says of a bundle; see `edgeproof_runtime.bundle.signatures.Signed`.
struct Signed {
    std::string signer;
    std::string signature;                       ///< its file in the bundle
    std::optional<std::string> signed_at;        ///< UTC; text sorts as time does
    std::map<std::string, std::string> digests;  ///< sha256 of every signed file

    bool covers(const std::string &name, const std::string &sha256) const;
    /// Throws `Failure` (bad input): the file was not signed with this content.
    void require(const std::string &name, const std::string &sha256) const;
    /// One line for people.
    std::string note() const;
};

/// Whose signatures count; see `edgeproof_runtime.bundle.trust_policy`.
struct TrustPolicy {
    struct Signer {
        enum class Kind { key, certificates, keyless };
        std::string name;
        Kind kind = Kind::key;
        std::string pem;
        std::string not_before;  ///< UTC, or empty
        std::string not_after;
    };
    std::vector<Signer> signers;
    std::string signed_after;

    /// Read a public key, certificates, or a policy (NAME.toml). Throws `Failure` (bad input).
    static TrustPolicy read(const std::filesystem::path &path, const Crypto &crypto);
};

/// Check a signature file: who of a policy signed it, and what it covers. Throws `Failure` (bad input).
Signed verified(const std::string &content, const std::string &name, const TrustPolicy &policy, const Crypto &crypto,
                std::time_t now);

/// Check that a trusted signature covers a bundle: every file, with its content. The same rules as
/// `edgeproof_runtime.bundle.signatures.require_signed`. Throws `Failure` (bad input).
Signed require_signed(const std::filesystem::path &folder, const TrustPolicy &policy, const Crypto &crypto,
                      std::time_t now = std::time(nullptr));

}  // namespace edgeproof
