"""The part of the training data that a training is watched on."""

import pytest
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
)

from widemargin.errors import EmptyDataError
from widemargin.integrations.subset import drawn_batches
from widemargin.trained_model import TrainedModel

INPUTS, LABELS = torch.arange(90.0).reshape(30, 3), torch.arange(30) % 2


def drawn(data, num=8, seed=0, **options):
    return drawn_batches(TrainedModel(nn.Linear(3, 2), data, **options), num, seed=seed)


def numbers(batches):
    """Which examples were drawn, told by their first input."""
    return [int(row[0]) // 3 for inputs, _ in batches for row in inputs]


def test_draws_as_many_as_asked_for_each_once():
    found = numbers(drawn((INPUTS, LABELS)))
    assert len(found) == len(set(found)) == 8
    assert found == sorted(found)


def test_inputs_keep_their_labels():
    ((inputs, labels),) = drawn((INPUTS, LABELS))
    assert torch.equal(labels, LABELS[inputs[:, 0].long() // 3])


def test_columns_of_a_network_with_two_inputs_stay_together():
    more = torch.arange(30).unsqueeze(1)
    ((inputs, second, labels),) = drawn((INPUTS, more, LABELS))
    assert torch.equal(second[:, 0], inputs[:, 0].long() // 3)
    assert torch.equal(labels, LABELS[second[:, 0]])


def test_another_seed_draws_others():
    assert numbers(drawn((INPUTS, LABELS), seed=0)) != numbers(drawn((INPUTS, LABELS), seed=1))


@pytest.mark.parametrize(
    "form",
    [
        TensorDataset(INPUTS, LABELS),
        DataLoader(TensorDataset(INPUTS, LABELS), batch_size=7),
        DataLoader(TensorDataset(INPUTS, LABELS), batch_size=7, shuffle=True),
        DataLoader(
            TensorDataset(INPUTS, LABELS),
            sampler=DistributedSampler(TensorDataset(INPUTS, LABELS), num_replicas=2, rank=1),
        ),
        DataLoader(list(zip(INPUTS, LABELS, strict=True))),
        [(INPUTS[:13], LABELS[:13]), (INPUTS[13:], LABELS[13:])],
    ],
    ids=["data set", "loader", "shuffling loader", "shared loader", "loader of a list", "batches"],
)
def test_draws_the_same_whatever_the_form(form):
    assert numbers(drawn(form)) == numbers(drawn((INPUTS, LABELS)))


def test_leaves_out_what_the_sampler_leaves_out():
    loader = DataLoader(TensorDataset(INPUTS, LABELS), sampler=SubsetRandomSampler([3, 5, 8]))
    assert numbers(drawn(loader)) == [3, 5, 8]


def test_reads_the_drawn_examples_only():
    read = []

    class Recording(Dataset):
        def __len__(self):
            return 30

        def __getitem__(self, index):
            read.append(index)
            return INPUTS[index], LABELS[index]

    assert numbers(drawn(DataLoader(Recording(), shuffle=True))) == read


def test_batches_are_of_the_loaders_size():
    loader = DataLoader(TensorDataset(INPUTS, LABELS), batch_size=3)
    assert [len(labels) for _, labels in drawn(loader)] == [3, 3, 2]
    assert [len(labels) for _, labels in drawn((INPUTS, LABELS), batch_size=5)] == [5, 3]


def test_sequences_are_padded_to_one_length():
    sequences = [(torch.ones(length), torch.tensor(length % 2)) for length in range(1, 9)]

    def padded(examples):
        inputs, labels = zip(*examples, strict=True)
        return {"inputs": nn.utils.rnn.pad_sequence(list(inputs), batch_first=True), "labels": torch.stack(labels)}

    batches = drawn(DataLoader(sequences, batch_size=2, collate_fn=padded))
    assert [batch["inputs"].shape for batch in batches] == [(2, 8)] * 4


def test_a_data_set_of_batches_is_read_as_batches():
    batches = [(INPUTS[:13], LABELS[:13]), (INPUTS[13:], LABELS[13:])]
    assert numbers(drawn(DataLoader(batches, batch_size=None))) == numbers(drawn(batches))


def test_of_a_stream_the_first_examples_are_taken():
    class Endless(IterableDataset):
        def __iter__(self):
            number = 0
            while True:
                yield torch.full((3,), 3.0 * number), torch.tensor(number % 2)
                number += 1

    assert numbers(drawn(DataLoader(Endless(), batch_size=4))) == list(range(8))


def test_data_without_an_example_is_refused():
    with pytest.raises(EmptyDataError, match="train_data must yield at least one example"):
        drawn((INPUTS[:0], LABELS[:0]))
