/** Every endpoint that sells model calls. */
import { chatCompletions } from './chat-completions.ts'
import { embeddings } from './embeddings.ts'
import type { Endpoint } from './endpoint.ts'
import { countTokens, messages } from './messages.ts'
import { responses } from './responses.ts'

export const ENDPOINTS: readonly Endpoint[] = [chatCompletions, responses, embeddings, messages, countTokens]
