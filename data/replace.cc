#include "data/replace.h"

namespace contrail::data {
namespace {

// Sets these draws apart from augmentation and order.
constexpr uint64_t kPurpose = 0x7265706c616365;

}  // namespace

Substitutes::Substitutes(uint64_t seed, Place place, uint64_t samples)
    : draws_(seed ^ kPurpose, place.epoch, place.position), samples_(samples) {}

uint64_t ConsumedDigest(Place place, uint64_t sample) {
  return Mix64(Mix64(Mix64(place.epoch + 1) ^ place.position) + sample);
}

}  // namespace contrail::data
