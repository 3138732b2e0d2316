#include "data/disk_patience.h"

#include <cerrno>
#include <chrono>
#include <cmath>
#include <thread>

namespace contrail::data {
namespace {

constexpr int kTries = 4;
constexpr double kFirstWait = 0.1;
constexpr double kLongestOfShard = 10;

}  // namespace

DiskPatience::DiskPatience(std::function<void(double)> sleep)
    : sleep_(sleep ? std::move(sleep) : [](double seconds) {
        std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
      }) {}

bool DiskPatience::MayPass(const IoError& error) {
  switch (error.number()) {
    case EIO:
    case ESTALE:
    case ETIMEDOUT:
    case EREMOTEIO:
    case EBADMSG:  // a checksum of the file system
    case EUCLEAN:  // its structure
    case ENXIO:
    case ENODATA:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENOTCONN:
    case ESHUTDOWN:
      return true;
    default:
      return false;
  }
}

bool DiskPatience::Wait(size_t shard, int tries) {
  if (tries >= kTries) return false;
  const double seconds = kFirstWait * std::pow(4, tries - 1);
  {
    const std::lock_guard lock(mutex_);
    double& waited = waited_[shard];
    if (waited >= kLongestOfShard) return false;
    waited += seconds;
  }
  sleep_(seconds);
  return true;
}

}  // namespace contrail::data
