import torch

from mien.learn.memory import SampleMemory


def test_written_rows_are_read_back_and_the_others_stay():
    memory = SampleMemory(torch.zeros(5, 3))
    memory.write(torch.tensor([4, 1]), torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    assert memory[torch.tensor([1, 4])].tolist() == [[4, 5, 6], [1, 2, 3]]
    assert memory.values[[0, 2, 3]].count_nonzero() == 0 and len(memory) == 5


def test_a_memory_is_a_copy_of_its_start():
    start = torch.ones(2, 2)
    SampleMemory(start).write(torch.tensor([0]), torch.zeros(1, 2))
    assert start.tolist() == [[1, 1], [1, 1]]


def test_rows_of_any_shape_and_type_are_converted_to_those_of_the_memory():
    memory = SampleMemory(torch.zeros(3, 2, 2, dtype=torch.float16))
    memory.write(torch.tensor([2]), torch.full((1, 2, 2), 0.5, dtype=torch.float64))
    assert memory.values.dtype == torch.float16 and memory.values[2].tolist() == [[0.5, 0.5], [0.5, 0.5]]


def test_a_memory_is_in_the_checkpoint_and_not_trained():
    memory = SampleMemory(torch.zeros(2, 2))
    assert list(memory.state_dict()) == ["values"] and not list(memory.parameters())
    memory.write(torch.tensor([0]), torch.ones(1, 2, requires_grad=True))
    assert not memory.values.requires_grad
