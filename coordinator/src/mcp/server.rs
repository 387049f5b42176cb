//! What a client asks and hears: the protocol's requests, each answered by the module that knows.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams,
    CancelledNotificationParam, GetTaskParams, GetTaskResult, Implementation,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ResourceContents,
    ResourceTemplate, ServerCapabilities, ServerConfig, SubscriptionFilter, Tool,
};
use rmcp::service::{NotificationContext, Peer, RequestContext, RoleServer, SubscriptionContext};
use rmcp::{ErrorData, ServerHandler};
use serde_json::Value;
use tokio::time::sleep;

use super::call::{self, Call};
use super::calls::Calls;
use super::door::Door;
use super::live::Teller;
use super::{answer, handles, many, own, recall, uri};

/// What a model reads first of this server.
const INSTRUCTIONS: &str = "\
Tools run on a fleet of workers that see the same workspace. Independent calls are best made at \
once: side by side, or with run_many. A result that is too long is cut and says how to read the \
rest. A call that was interrupted goes on: fetch_result lists and fetches it. An outcome `unknown` \
means that a command may have had its effect: look before you repeat it.";

/// How soon it is noticed that a client is gone to whom there is nothing to tell.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// One connection's server.
#[derive(Debug)]
pub(super) struct Server {
    door: Arc<Door>,
    calls: Calls,
}

impl Server {
    /// For a new connection.
    pub(super) fn new(door: &Arc<Door>) -> Self {
        Self {
            door: Arc::clone(door),
            calls: Calls::default(),
        }
    }

    /// Calls a worker's tool. A client that knows tasks gets a handle when it takes long.
    async fn call(
        &self,
        name: &str,
        arguments: Value,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResponse {
        let door = &*self.door;
        let running = self.calls.begin(context, &door.leaving);
        let mut teller = Teller::of(context);
        let call = Call::new(door, name, arguments);
        let ended = call::run(door, &call, teller.as_mut(), &running.cancel);
        let knows_tasks = context
            .client_capabilities()
            .is_some_and(|c| c.supports_tasks());
        let ended = tokio::select! {
            ended = ended => ended,
            () = sleep(handles::HANDED_OUT_AFTER), if knows_tasks => {
                return CallToolResponse::Task(handles::handle(&call));
            }
        };
        answer::of(ended, door.session.id(), door.options.max_output).into()
    }

    /// One of the door's own tools.
    async fn own(
        &self,
        name: &str,
        arguments: Value,
        context: &RequestContext<RoleServer>,
    ) -> CallToolResult {
        let door = &*self.door;
        let running = self.calls.begin(context, &door.leaving);
        match name {
            own::RUN_MANY => many::run(door, arguments, Teller::of(context), &running.cancel).await,
            own::FETCH_RESULT => recall::fetch(door, arguments, &running.cancel).await,
            own::RESULT_READ => recall::read(door, arguments).await,
            _ => recall::cancel(door, arguments).await,
        }
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_resources()
            .enable_tasks()
            .build();
        let implementation = Implementation::new("a3s", env!("CARGO_PKG_VERSION"))
            .with_title("A3S Distributed")
            .with_description("Runs tool calls on a fleet of workers over NATS JetStream");
        ServerConfig::new(capabilities)
            .with_server_info(implementation)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.door.catalog.tools()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.door.catalog.tool(name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = &*request.name;
        if self.door.catalog.tool(name).is_none() {
            let text = format!("unknown tool {name:?}: tools/list has those that there are");
            return Err(ErrorData::invalid_params(text, None));
        }
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        if own::NAMES.contains(&name) {
            return Ok(self.own(name, arguments, &context).await.into());
        }
        Ok(self.call(name, arguments, &context).await)
    }

    async fn on_cancelled(
        &self,
        notification: CancelledNotificationParam,
        _context: NotificationContext<RoleServer>,
    ) {
        if let Some(id) = notification.request_id {
            self.calls.take_back(id);
        }
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        tokio::spawn(tell_changes(Arc::clone(&self.door), context.peer));
    }

    fn accepted_subscription_filter(
        &self,
        _requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().build())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.door.catalog.changes();
        loop {
            tokio::select! {
                Ok(()) = changes.changed() => {
                    if context.sink().notify_tool_list_changed().await.is_err() {
                        return Ok(());
                    }
                }
                () = context.cancelled() => return Ok(()),
                () = self.door.leaving.cancelled() => return Ok(()),
            }
        }
    }

    async fn list_resources(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resources = recall::resources(&self.door).await;
        let resources = resources.map_err(|e| ErrorData::internal_error(e, None))?;
        Ok(ListResourcesResult::with_all_items(resources))
    }

    async fn list_resource_templates(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = ResourceTemplate::new(uri::TEMPLATE, "result")
            .with_description("A call's output, or a range of its lines, or those that match")
            .with_mime_type("text/plain");
        Ok(ListResourceTemplatesResult::with_all_items(vec![template]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let text = recall::resource(&self.door, &request.uri).await;
        let text = text.map_err(|e| ErrorData::resource_not_found(e, None))?;
        let contents = ResourceContents::text(text, request.uri);
        Ok(ReadResourceResult::new(vec![contents]).into())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        handles::get(&self.door, &request.task_id).await
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        handles::cancel(&self.door, &request.task_id).await
    }
}

/// Tells a client when the tools are other ones, until it is gone.
async fn tell_changes(door: Arc<Door>, peer: Peer<RoleServer>) {
    let mut changes = door.catalog.changes();
    while !peer.is_transport_closed() {
        tokio::select! {
            Ok(()) = changes.changed() => {
                if peer.notify_tool_list_changed().await.is_err() {
                    return;
                }
            }
            () = sleep(GONE_WITHIN) => {}
            () = door.leaving.cancelled() => return,
        }
    }
}
