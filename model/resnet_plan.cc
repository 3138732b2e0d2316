// Where a ResNet's activations lie: what lives when.
#include "model/resnet.h"

namespace contrail::model {

int64_t ResnetTower::InputChannels(size_t block) const {
  return block < blocks_.size() ? blocks_[block].channels_in() : 32 * width_;
}

// Time runs through the places (stem 0, block i at i + 1, the pool last) and back. Of a block's
// backward only the first half needs what conv3 wrote and the block's output, and only the second
// writes the gradient of its input.
int ResnetTower::Back(int place) const { return Places() + 2 * (Places() - 1 - place); }
int ResnetTower::BackEnd(int place) const { return Back(place) + 1; }

// What a place writes in its forward for its backward. Where blocks are run again only the last
// one's stays between both.
Lives ResnetTower::Kept(int place) const {
  if (!training_) return {{place, place}};
  if (recompute_ && place + 2 != Places()) return {{place, place}, {Back(place), BackEnd(place)}};
  return {{place, BackEnd(place)}};
}

// The first two stages' wide outputs are three quarters of all and take a percent of a step.
bool ResnetTower::FormsAgain(size_t block) const {
  return training_ && !recompute_ && stages_[block] < 2;
}

void ResnetTower::Plan(int64_t samples, const PlanFor& what, ArenaPlan* plan) {
  samples_ = samples;
  training_ = what.training;
  recompute_ = what.training && what.recompute.resnet;
  kept_ = 0;
  LivePlan live(plan);
  PlanStem(&live);
  for (size_t i = 0; i < blocks_.size(); ++i) PlanBlock(i, &live);
  PlanInputs(&live);
  if (training_) PlanGradients(&live);
  live.Place();
  pool_.Plan(samples, plan);
}

void ResnetTower::PlanStem(LivePlan* plan) {
  const int64_t groups = GroupsOf(samples_), rows = StemShape(samples_).rows();
  const Lives pixels{{0, training_ ? BackEnd(0) : 0}};
  plan->Add(&pixels_, samples_ * resolution_ * resolution_, 3, pixels);
  for (ConvNorm& conv : stem_) conv.Plan(groups, rows, Kept(0), Kept(0), plan);
  if (!training_) return;
  plan->Add(&stem_scratch_.first, 1, rows * width_, {{Back(0), BackEnd(0)}});
  plan->Add(&stem_scratch_.second, 1, rows * width_ / 2, {{Back(0), BackEnd(0)}});
}

void ResnetTower::PlanBlock(size_t block, LivePlan* plan) {
  const int place = static_cast<int>(block) + 1, back = Back(place), end = BackEnd(place);
  const Lives kept = Kept(place);
  BottleneckLives lives{kept, kept, kept, kept, {}};
  if (training_) {
    lives.last.back().last = back;
    lives.backward = {{back, end}};
  }
  if (FormsAgain(block)) {  // the block behind forms the gradient through the last norm
    lives.last = {{place, place}, {Back(place + 1), back}};
    lives.identity = {{place, place}, {back, end}};
  }
  blocks_[block].Plan(InputShape(block, samples_), GroupsOf(samples_), lives, plan);
}

// Input i is written at place i and read at the next. Its own ReLU's gradient needs it too, which
// is formed at the next place again, or, where blocks are run again and at the end, at its own.
void ResnetTower::PlanInputs(LivePlan* plan) {
  inputs_.resize(blocks_.size() + 1);
  for (size_t i = 0; i < inputs_.size(); ++i) {
    const int place = static_cast<int>(i);
    const bool own = recompute_ || i + 1 == inputs_.size();
    const int last = !training_ ? place + 1 : own ? Back(place) : BackEnd(place + 1);
    plan->Add(&inputs_[i], 1, InputShape(i, samples_).rows() * InputChannels(i), {{place, last}});
  }
}

// One a shape: within a stage gradients replace each other.
void ResnetTower::PlanGradients(LivePlan* plan) {
  d_inputs_.resize(static_cast<size_t>(stages_.back()) + 2);
  int first = Back(Places() - 1);
  for (size_t i = blocks_.size() + 1; i-- > 0;) {
    if (i > 0 && !blocks_[i - 1].reshapes()) continue;
    const int end = BackEnd(static_cast<int>(i));  // of whoever wrote input i
    plan->Add(&d_inputs_[GradientOf(i)], 1, InputShape(i, samples_).rows() * InputChannels(i),
              {{first, end}});
    first = end;
  }
}

void ResnetTower::PlanScratch(bool training, ArenaPlan* plan) { pool_.PlanScratch(training, plan); }

}  // namespace contrail::model
