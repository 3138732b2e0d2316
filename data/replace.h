#pragma once
// A sample that cannot be used is replaced: its place in the order is taken by another, which is a
// pure function of (seed, epoch, position) and of what the data set holds, of no rank, thread,
// restart or time. Evaluation and `contrail embed` never replace: there a sample stands for itself.

#include <cstdint>
#include <map>
#include <string>

#include "common/error.h"
#include "common/rng.h"
#include "data/batch.h"

namespace contrail::data {

// One sample cannot be used, whatever is with its data set: what() is the error behind it.
class SampleError : public Error {
 public:
  SampleError(const Error& why, bool unreadable) : Error(why), unreadable_(unreadable) {}
  // The disk would not give it up, after several tries; everything else lies in the bytes.
  bool unreadable() const { return unreadable_; }

 private:
  bool unreadable_;
};

// The samples that are tried, in this order, where the place's own cannot be used: draws from all
// `samples`, keyed by seed, epoch and position.
class Substitutes {
 public:
  Substitutes(uint64_t seed, Place place, uint64_t samples);
  uint64_t Next() { return draws_.NextBelow(samples_); }

 private:
  RandomStream draws_;
  uint64_t samples_;
};

// So many fail one after the other, and it is not this sample that is broken.
inline constexpr int kMostSubstitutes = 16;
// ... and so many that the disk does not give up.
inline constexpr int kMostUnreadable = 4;

// Replacements that the run has made before and that hold for good: a disk that is back does not
// change what a run that is resumed is trained on.
using KnownReplacements = std::map<Place, Replaced>;

// What position `place` was trained on, for the proof that each was taken once: the sum of it over
// any set of places tells the set (64 bits, so up to chance).
uint64_t ConsumedDigest(Place place, uint64_t sample);

}  // namespace contrail::data
