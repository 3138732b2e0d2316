#include "model/live_plan.h"

#include <gtest/gtest.h>

#include <random>

namespace contrail::model {
namespace {

constexpr int64_t kLine = 64, kFloats = kLine / 4;

struct Piece {
  Slot slot;
  Lives lives;

  int64_t end() const { return slot.offset + SlotBytes(slot); }
  bool AliveAt(int time) const {
    for (const Life& life : lives) {
      if (life.first <= time && time <= life.last) return true;
    }
    return false;
  }
};

TEST(LivePlan, PiecesAliveAtTheSameTimeNeverShare) {
  std::mt19937 random(1);
  constexpr int kTimes = 30;
  const auto upto = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int round = 0; round < 50; ++round) {
    ArenaPlan plan(at::kFloat);
    plan.Add(1, 5);
    std::vector<Piece> pieces(60);
    LivePlan live(&plan);
    for (Piece& piece : pieces) {
      const int first = upto(kTimes / 2), last = first + upto(kTimes / 4);
      piece.lives = {{first, last}};
      if (upto(2) == 0) piece.lives.push_back({last + 1 + upto(5), last + 6 + upto(5)});
      live.Add(&piece.slot, 1 + upto(3), kFloats * (1 + upto(100)), piece.lives);
    }
    live.Place();
    const Slot behind = plan.Add(1, 1);
    for (size_t i = 0; i < pieces.size(); ++i) {
      EXPECT_GE(pieces[i].slot.offset, kLine);
      EXPECT_LE(pieces[i].end(), behind.offset);
      for (size_t j = 0; j < i; ++j) {
        const bool apart =
            pieces[i].end() <= pieces[j].slot.offset || pieces[j].end() <= pieces[i].slot.offset;
        bool together = false;
        for (int time = 0; time < 2 * kTimes; ++time) {
          together |= pieces[i].AliveAt(time) && pieces[j].AliveAt(time);
        }
        EXPECT_TRUE(apart || !together);
      }
    }
  }
}

// A stack of layers, kept from its forward to its backward, each with scratch twice as large in
// its backward: the scratch of all but the last lies where later layers were.
TEST(LivePlan, ScratchOfABackwardLiesWhereLaterLayersWere) {
  constexpr int kLayers = 8;
  ArenaPlan plan(at::kFloat);
  std::vector<Slot> kept(kLayers), scratch(kLayers);
  LivePlan live(&plan);
  for (int i = 0; i < kLayers; ++i) {
    const int back = 2 * kLayers - 1 - i;
    live.Add(&kept[static_cast<size_t>(i)], 1, kFloats, {{i, back}});
    live.Add(&scratch[static_cast<size_t>(i)], 2, kFloats, {{back, back}});
  }
  live.Place();
  EXPECT_EQ(plan.bytes(), (kLayers + 2) * kLine);
}

TEST(LivePlan, WideSlotsAreFp32) {
  ArenaPlan plan(at::kBFloat16);
  Slot narrow, wide;
  LivePlan live(&plan);
  live.Add(&narrow, 4, 100, {{0, 1}});
  live.AddWide(&wide, 4, 100, {{2, 3}});
  live.Place();
  EXPECT_EQ(narrow.type, at::kBFloat16);
  EXPECT_EQ(wide.type, at::kFloat);
  EXPECT_EQ(narrow.offset, wide.offset);
  EXPECT_EQ(plan.bytes(), 1600);
}

}  // namespace
}  // namespace contrail::model
