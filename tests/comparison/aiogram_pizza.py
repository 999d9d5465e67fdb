from aiogram import Router
from aiogram.filters import StateFilter
from aiogram.fsm.context import FSMContext
from aiogram.fsm.state import State, StatesGroup
from aiogram.types import Message

router = Router()


class Order(StatesGroup):
    pizza = State()
    size = State()


@router.message(StateFilter(None))
async def start(message: Message, state: FSMContext):
    await state.set_state(Order.pizza)
    await message.answer("Which pizza?")


@router.message(Order.pizza)
async def take_pizza(message: Message, state: FSMContext):
    await state.update_data(pizza=message.text)
    await state.set_state(Order.size)
    await message.answer("What size?")


@router.message(Order.size)
async def take_size(message: Message, state: FSMContext):
    data = await state.get_data()
    await state.clear()
    await message.answer(f"One {message.text} {data['pizza']}.")
