export { eventsOf, type ShopEvent } from './events.ts'
export { type Page, type Session, sessions, TENANTS } from './sessions.ts'
