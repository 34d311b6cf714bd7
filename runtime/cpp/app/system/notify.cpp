#include "system/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace edgeproof::app {
namespace {

std::optional<double> watchdog_seconds() {
    const char *micros = std::getenv("WATCHDOG_USEC");
    const char *owner = std::getenv("WATCHDOG_PID");
    if (micros == nullptr || *micros == '\0' || std::strspn(micros, "0123456789") != std::strlen(micros)) return {};
    if (owner != nullptr && std::to_string(::getpid()) != owner) return {};
    errno = 0;
    const unsigned long long number = std::strtoull(micros, nullptr, 10);
    if (errno != 0 || number == 0) return {};
    return static_cast<double>(number) / 1e6;
}

}  // namespace

SystemdSocket::SystemdSocket() {
    const char *address = std::getenv("NOTIFY_SOCKET");
    if (address == nullptr || (*address != '/' && *address != '@')) return;
    if (std::strlen(address) >= sizeof(sockaddr_un::sun_path)) return;
    address_ = address;
    if (address_.front() == '@') address_.front() = '\0';  // an abstract address
    watchdog_s_ = watchdog_seconds();
}

void SystemdSocket::send(const std::string &lines) const {
    if (!exists()) return;
    const int sender = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sender < 0) return;
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::memcpy(to.sun_path, address_.data(), address_.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + address_.size());
    (void)!::sendto(sender, lines.data(), lines.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr *>(&to), size);
    ::close(sender);
}

}  // namespace edgeproof::app
