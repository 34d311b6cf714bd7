#include "signing/openssl.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <memory>

#include "edgeproof/failure.h"

namespace edgeproof::app {
namespace {

constexpr int most_links = 8;
constexpr int auth_level = 2;  // 112 bits: no SHA-1 in a chain

template <auto release>
struct Release {
    template <typename T>
    void operator()(T *value) const {
        release(value);
    }
};
template <typename T, auto release>
using Owned = std::unique_ptr<T, Release<release>>;

using Bio = Owned<BIO, BIO_free_all>;
using Key = Owned<EVP_PKEY, EVP_PKEY_free>;
using Certificate = Owned<X509, X509_free>;
using Digest = Owned<EVP_MD_CTX, EVP_MD_CTX_free>;
using Store = Owned<X509_STORE, X509_STORE_free>;
using Context = Owned<X509_STORE_CTX, X509_STORE_CTX_free>;

struct FreeStack {
    void operator()(STACK_OF(X509) *stack) const { sk_X509_free(stack); }  // the certificates have their owners
};
using Stack = std::unique_ptr<STACK_OF(X509), FreeStack>;

/// The newest of OpenSSL's errors, of which the rest is forgotten.
std::string reason() {
    const unsigned long code = ERR_peek_last_error();
    const char *text = code == 0 ? nullptr : ERR_reason_error_string(code);
    ERR_clear_error();
    return text == nullptr ? "" : text;
}

Bio reading(const std::string &content) { return Bio(BIO_new_mem_buf(content.data(), static_cast<int>(content.size()))); }

/// The hash of a supported key's curve; none for another key. The key chooses it, nothing in the signature's file does.
const EVP_MD *hash_of(EVP_PKEY *key) {
    if (key == nullptr || EVP_PKEY_base_id(key) != EVP_PKEY_EC) return nullptr;
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
    char name[64];
    const int curve = EVP_PKEY_get_group_name(key, name, sizeof name, nullptr) == 1 ? OBJ_txt2nid(name) : NID_undef;
#else
    const int curve = EC_GROUP_get_curve_name(EC_KEY_get0_group(EVP_PKEY_get0_EC_KEY(key)));
#endif
    if (curve == NID_X9_62_prime256v1) return EVP_sha256();
    if (curve == NID_secp384r1) return EVP_sha384();
    return curve == NID_secp521r1 ? EVP_sha512() : nullptr;
}

Failure unsupported(const std::string &name) {
    return bad_input(name + ": unsupported key", {}, "an ECDSA key on P-256, P-384 or P-521",
                     "openssl ecparam -name prime256v1 -genkey -noout -out private.pem");
}

Key key_of(const std::string &pem, const std::string &name) {
    Key key(PEM_read_bio_PUBKEY(reading(pem).get(), nullptr, nullptr, nullptr));
    if (!key) throw bad_input(name + ": not a public key", reason(), "a PEM public key");
    if (hash_of(key.get()) == nullptr) throw unsupported(name);
    return key;
}

std::vector<Certificate> certificates_of(const std::string &pem, const std::string &name) {
    std::vector<Certificate> found;
    const Bio bio = reading(pem);
    while (X509 *one = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) found.emplace_back(one);
    const bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    const std::string why = reason();
    if (found.empty() || !ended) throw bad_input(name + ": no certificates", why, "PEM certificates");
    return found;
}

void check(EVP_PKEY *key, const std::string &message, const std::string &signature) {
    const EVP_MD *hash = hash_of(key);
    const Digest digest(EVP_MD_CTX_new());
    const auto bytes = [](const std::string &text) { return reinterpret_cast<const unsigned char *>(text.data()); };
    const bool valid =
        digest && EVP_DigestVerifyInit(digest.get(), nullptr, hash, nullptr, key) == 1 &&
        EVP_DigestVerify(digest.get(), bytes(signature), signature.size(), bytes(message), message.size()) == 1;
    ERR_clear_error();
    if (!valid) throw bad_input("signature: wrong, or made with another key");
}

std::string subject_of(X509 *one) {
    const Bio bio(BIO_new(BIO_s_mem()));
    X509_NAME_print_ex(bio.get(), X509_get_subject_name(one), 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
    char *text = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &text);
    return {text, static_cast<std::size_t>(size)};
}

/// Require a use for signatures, as `model-signing` does.
void check_use(X509 *one) {
    const std::uint32_t flags = X509_get_extension_flags(one);
    const bool signs = (flags & EXFLAG_KUSAGE) != 0 && (X509_get_key_usage(one) & KU_DIGITAL_SIGNATURE) != 0;
    const bool code = (flags & EXFLAG_XKUSAGE) != 0 && (X509_get_extended_key_usage(one) & XKU_CODE_SIGN) != 0;
    if (!signs && !code)
        throw bad_input("certificate " + subject_of(one) + ": must not sign", {},
                        "key usage digitalSignature, or extended key usage codeSigning");
}

std::string worded(X509_STORE_CTX *context) {
    switch (X509_STORE_CTX_get_error(context)) {
        case X509_V_ERR_CERT_HAS_EXPIRED: return "expired";
        case X509_V_ERR_CERT_NOT_YET_VALID: return "not valid yet";
        case X509_V_ERR_PATH_LENGTH_EXCEEDED: return "chain too long";
        case X509_V_ERR_INVALID_CA: return "not of an authority";
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
        case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        case X509_V_ERR_CERT_SIGNATURE_FAILURE: return "not issued by a trusted certificate";
        default: return X509_verify_cert_error_string(X509_STORE_CTX_get_error(context));
    }
}

void check_chain(const std::vector<Certificate> &trusted, const std::vector<Certificate> &chain, std::time_t now) {
    const Store store(X509_STORE_new());
    for (const Certificate &one : trusted) X509_STORE_add_cert(store.get(), one.get());
    const Stack above(sk_X509_new_null());
    for (std::size_t i = 1; i < chain.size(); ++i) sk_X509_push(above.get(), chain[i].get());
    const Context context(X509_STORE_CTX_new());
    if (!context || X509_STORE_CTX_init(context.get(), store.get(), chain.front().get(), above.get()) != 1)
        throw bad_input("certificate: cannot be read", reason());
    X509_VERIFY_PARAM *rules = X509_STORE_CTX_get0_param(context.get());
    X509_VERIFY_PARAM_set_flags(rules, X509_V_FLAG_PARTIAL_CHAIN);  // what was given is trusted, also without its issuer
    X509_VERIFY_PARAM_set_depth(rules, most_links);
    X509_VERIFY_PARAM_set_auth_level(rules, auth_level);
    X509_VERIFY_PARAM_set_time(rules, now);
    if (X509_verify_cert(context.get()) != 1) {
        X509 *at = X509_STORE_CTX_get_current_cert(context.get());
        const std::string why = worded(context.get());
        ERR_clear_error();
        throw bad_input("certificate" + (at == nullptr ? "" : " " + subject_of(at)) + ": " + why);
    }
    STACK_OF(X509) *verified = X509_STORE_CTX_get0_chain(context.get());
    for (int i = 1; i < sk_X509_num(verified); ++i)
        if (X509 *one = sk_X509_value(verified, i); X509_check_ca(one) != 1)
            throw bad_input("certificate " + subject_of(one) + ": not of an authority", {},
                            "basic constraints CA:TRUE, key usage keyCertSign");
}

class OpenSsl final : public Crypto {
  public:
    void check_key(const std::string &pem, const std::string &name) const override { key_of(pem, name); }

    void check_certificates(const std::string &pem, const std::string &name) const override {
        certificates_of(pem, name);
    }

    void verify(const std::string &pem, const std::string &message, const std::string &signature) const override {
        check(key_of(pem, "key").get(), message, signature);
    }

    std::string verify_chain(const std::string &authorities, const std::vector<std::string> &chain,
                             const std::string &message, const std::string &signature,
                             std::time_t now) const override {
        std::vector<Certificate> read;
        for (const std::string &der : chain) {
            const auto *bytes = reinterpret_cast<const unsigned char *>(der.data());
            const unsigned char *const end = bytes + der.size();
            read.emplace_back(d2i_X509(nullptr, &bytes, static_cast<long>(der.size())));
            if (!read.back() || bytes != end) throw bad_input("certificate: cannot be read", reason());
        }
        check_use(read.front().get());
        check_chain(certificates_of(authorities, "certificates"), read, now);
        EVP_PKEY *key = X509_get0_pubkey(read.front().get());
        const std::string subject = subject_of(read.front().get());
        if (hash_of(key) == nullptr) throw unsupported("certificate " + subject);
        check(key, message, signature);
        return subject;
    }
};

}  // namespace

const Crypto &openssl() {
    static const OpenSsl found;
    return found;
}

}  // namespace edgeproof::app
