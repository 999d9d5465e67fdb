from microsoft_agents.hosting.core import MessageFactory, TurnContext, TurnState
from microsoft_agents.hosting.dialogs import (
    DialogSet,
    DialogTurnStatus,
    WaterfallDialog,
    WaterfallStepContext,
)
from microsoft_agents.hosting.dialogs.prompts import PromptOptions, TextPrompt


async def ask_pizza(step: WaterfallStepContext):
    return await step.prompt("text", PromptOptions(MessageFactory.text("Which pizza?")))


async def ask_size(step: WaterfallStepContext):
    step.values["pizza"] = step.result
    return await step.prompt("text", PromptOptions(MessageFactory.text("What size?")))


async def confirm(step: WaterfallStepContext):
    await step.context.send_activity(f"One {step.result} {step.values['pizza']}.")
    return await step.end_dialog()


async def on_message(context: TurnContext, state: TurnState):
    dialogs = DialogSet(state.conversation.create_property("dialogs"))
    dialogs.add(TextPrompt("text"))
    dialogs.add(WaterfallDialog("order", [ask_pizza, ask_size, confirm]))
    dialog = await dialogs.create_context(context)
    result = await dialog.continue_dialog()
    if result.status is DialogTurnStatus.Empty:
        await dialog.begin_dialog("order")
